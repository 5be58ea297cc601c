"""An ambulance or a police car comes from behind with blue lights; the ego slows down at the kerb and lets it pass.

Truth: from where it is 40 m behind the ego until it is 15 m ahead.
"""

from functools import partial

from dima_pipeline.world.crowds import add_crowd
from dima_pipeline.world.events._facts import beside_route, first_true, lasting, place_of
from dima_pipeline.world.events._shared import ends_at_roundabout, start_stage
from dima_pipeline.world.paths import Shift, forward_path, sample_curves
from dima_pipeline.world.roads import Lane, Road, Town
from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Rng, Stage, find_route, is_straight
from dima_pipeline.world.traffic import add_oncoming, add_parked
from dima_pipeline.world.truth import Interval

LEAD_M = 46.0
"""How far ahead of it the ego starts."""
SPEED_UP = 1.65
COLORS = {"ambulance": (236, 236, 228), "police": (40, 70, 150)}


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage on a straight kerb lane that leads straight on, with room behind the ego; none without such a lane."""
    stage = start_stage(town, rng, find_route(town, rng, partial(_is_clearable, town), "straight"))
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    stage.start_m = 5.0 + LEAD_M
    aside, slow_from = _pull_over(stage, lane)
    kind = str(rng.choice(["ambulance", "police"]))
    vehicle = stage.add(f"vehicle.emergency.{kind}", role="event", intention="emergency", emergency=True)
    # Its lane where there is a second one, else along the middle of the road: 0.6 m from the ego's side.
    out = lane.width_m if stage.town.roads[lane.road].road_class.num_forward > 1 else aside + 0.93 + 0.6 + 1.15
    shift = Shift(-2.0, -1.0, slow_from + 45.0, slow_from + 75.0, out)
    poses, speeds = sample_curves(
        [way.curve for way in stage.route.lanes], [way.speed_mps for way in stage.route.lanes]
    )
    vehicle.path = forward_path(poses, SPEED_UP * speeds, [shift])
    vehicle.start_m, vehicle.speed_mps = 5.0, vehicle.path.limit(5.0)
    vehicle.center_ahead_m, vehicle.color = 0.3 * vehicle.size[0], COLORS[kind]
    stage.truth_rules.append(partial(_truth, vehicle=vehicle.name))
    return _sparse_traffic(stage)


def _pull_over(stage: Stage, lane: Lane) -> tuple[float, float]:
    """Sideways place of the ego at the kerb (m, left positive), and where on the route it begins to slow down."""
    aside = -(lane.width_m / 2 - 0.93 - 0.12)
    begin = stage.start_m + float(stage.rng.uniform(8.0, 14.0))
    stage.shifts.append(Shift(begin, begin + 14.0, begin + 34.0, begin + 50.0, aside))
    stage.caps.append((begin + 10.0, begin + 24.0, 2.2))
    return aside, begin


def _sparse_traffic(stage: Stage) -> Stage:
    """Others keep off the road that the siren clears."""
    add_parked(stage, float(stage.rng.uniform(0.3, 0.6)))
    add_crowd(stage)
    if stage.town.roads[stage.route.lanes[0].road].road_class.num_forward > 1:
        add_oncoming(stage, 2)
    return stage


def _is_clearable(town: Town, lane: Lane, road: Road) -> bool:
    fits = road.road_class.name in ("street", "avenue", "oneway") and lane.curve.length >= 90.0
    return fits and is_straight(lane) and lane.index == 0 and not ends_at_roundabout(town, lane)


def _truth(stage: Stage, actors: list[Actor], tracks: Tracks, vehicle: str) -> list[Interval]:
    index = place_of(actors, vehicle)
    if index is None:
        return []
    own, _ = beside_route(stage, tracks.poses[:, 0, :2])
    ahead = beside_route(stage, tracks.poses[:, index, :2])[0] - own
    begin, end = first_true(ahead > -40.0), first_true(ahead > 15.0)
    if begin is None or end is None or tracks.speeds[begin:end, 0].min() > 0.5 * stage.route.lanes[0].speed_mps:
        return []
    return lasting("emergency_vehicle", tracks, tracks.times_s[begin], tracks.times_s[end], actors[index])
