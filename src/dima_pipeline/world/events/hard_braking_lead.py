"""The vehicle ahead brakes as hard as it can, down to a halt or nearly, and then drives on; its brake lights say so.

Truth: from where it brakes harder than 4 m/s2 (for 0.3 s at least) until it drives faster than 2 m/s again.
"""

from functools import partial

import numpy as np

from dima_pipeline.world.events._facts import first_true, lasting, place_of
from dima_pipeline.world.events._shared import stage_on, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Rng, Stage, gates_of, lane_path
from dima_pipeline.world.truth import Interval, runs

HARD_MPS2 = 4.0


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage with a vehicle ahead at the ego's own speed; none where no straight lane is long enough."""
    stage = stage_on(town, rng, "street", "avenue", straight=True, min_m=85.0)
    if stage is None:
        return None
    path = lane_path(stage.route)
    speed = 0.85 * stage.route.lanes[0].speed_mps
    brakes, slow = float(rng.uniform(2.0, 3.0)), float(rng.choice([0.0, 1.0]))
    stops = brakes + (speed - slow) / 6.0
    category = str(rng.choice(["vehicle.car", "vehicle.truck"], p=[0.8, 0.2]))
    lead = stage.add(
        category, path=path, start_m=stage.start_m + 6.0 + 1.6 * speed, speed_mps=speed, center_ahead_m=1.4,
        gates=gates_of(town, stage.route), braking_mps2=6.5, role="event", intention="brake",
        speed_plan=((0.0, speed), (brakes, speed), (stops, slow), (stops + 2.0, slow), (stops + 6.0, speed)),
    )  # fmt: skip
    lead.center_ahead_m = 0.3 * lead.size[0]
    stage.truth_rules.append(partial(_truth, lead=lead.name))
    return with_traffic(stage)


def _truth(stage: Stage, actors: list[Actor], tracks: Tracks, lead: str) -> list[Interval]:
    index = place_of(actors, lead)
    if index is None:
        return []
    speed = tracks.speeds[:, index]
    step = float(tracks.times_s[1] - tracks.times_s[0])
    hard = [run for run in runs(np.gradient(speed, step) < -HARD_MPS2) if (run[1] - run[0]) * step >= 0.3]
    if not hard:
        return []
    first, last = hard[0]
    goes = first_true(speed > 2.0, first_true(speed < 2.0, last) or last)
    end = len(speed) - 1 if goes is None else goes
    return lasting("hard_braking_lead", tracks, tracks.times_s[first], tracks.times_s[end], actors[index])
