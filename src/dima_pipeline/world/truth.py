"""What truly happened in a scene: intervals of events and intentions, read off the simulation."""

from dataclasses import dataclass

import numpy as np

from dima_pipeline.world.actors import SIGNAL_COLORS
from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Stage

STOP_MPS = 0.1
CURVE_RADIUS_M = 60.0
SIGNAL_SIGHT_M = 60.0


@dataclass(frozen=True)
class Interval:
    """An interval of a scene, in seconds from its start; the columns of ``contracts.tables.WorldTruth``."""

    kind: str
    value: str
    begin_s: float
    end_s: float
    actor: str | None = None


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of true values."""
    edges = np.diff(np.concatenate([[0], np.asarray(mask, int), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))


def find_intervals(stage: Stage, actors: list[Actor], tracks: Tracks, light: str) -> list[Interval]:
    """Light, events and intentions of a simulated scene; ``actors`` in the order of ``tracks``, the ego first."""
    last = float(tracks.times_s[-1])
    found = [Interval("light", light, 0.0, last)]
    found += _lamps(stage, actors, tracks) + _signals(stage, tracks)
    found += _marked(stage, tracks) + _on_route(stage, tracks) + _stops(tracks)
    found += _followed(actors, tracks) + _crossed(actors, tracks)
    found += [row for rule in stage.truth_rules for row in rule(stage, actors, tracks)]
    found += _intentions(stage, actors, tracks)
    return sorted(found, key=lambda row: (row.kind, row.begin_s, row.value, row.actor or ""))


def _intentions(stage: Stage, actors: list[Actor], tracks: Tracks) -> list[Interval]:
    """What everybody is up to: the whole scene long, or until a change of lanes, during it, and after it."""
    last, found = float(tracks.times_s[-1]), []
    changes = {change.index: change for change in tracks.changes}
    for index, actor in enumerate(actors):
        spans = [(actor.intention, 0.0, last)]
        if index in changes:
            change = changes[index]
            is_over = tracks.along_m[:, index] >= change.until_m
            end = float(tracks.times_s[is_over.argmax()]) if is_over.any() else last
            during = f"change_lane_{change.side}"
            spans = [
                (actor.intention, 0.0, change.begin_s),
                (during, change.begin_s, end),
                (change.intention, end, last),
            ]
        for value, begin, end in spans:
            if index and value and value != "static" and end > begin:
                found.append(Interval("intention", _mirrored(stage, value), begin, end, actor.name))
    return found


def _between(tracks: Tracks, begin_m: float, end_m: float) -> tuple[float, float] | None:
    inside = np.flatnonzero((tracks.along_m[:, 0] >= begin_m) & (tracks.along_m[:, 0] <= end_m))
    return (float(tracks.times_s[inside[0]]), float(tracks.times_s[inside[-1]])) if len(inside) else None


def _marked(stage: Stage, tracks: Tracks) -> list[Interval]:
    found = []
    for event, begin, end, actor in stage.marks:
        times = _between(tracks, begin, end)
        if times is not None and times[1] - times[0] > 0.5:
            found.append(Interval("event", event, *times, actor))
    return found


def _mirrored(stage: Stage, value: str) -> str:
    if not stage.town.placement.is_mirrored or not value.endswith(("_left", "_right")):
        return value
    kind, _, side = value.rpartition("_")
    return f"{kind}_{'right' if side == 'left' else 'left'}"


def _lamps(stage: Stage, actors: list[Actor], tracks: Tracks) -> list[Interval]:
    """What each vehicle has switched on; both turn signals together are ``hazard``."""
    found = []
    for index, actor in enumerate(actors):
        brake, left, right, emergency = tracks.lights[:, index].T
        hazard = left & right
        lamps = {"brake": brake, "emergency": emergency, "hazard": hazard}
        lamps |= {_mirrored(stage, "turn_left"): left & ~hazard, _mirrored(stage, "turn_right"): right & ~hazard}
        for value, is_on in lamps.items():
            spans = [(float(tracks.times_s[first]), float(tracks.times_s[last])) for first, last in runs(is_on)]
            found += [Interval("light", value, begin, end, actor.name) for begin, end in spans if index]
    return found


def _signals(stage: Stage, tracks: Tracks) -> list[Interval]:
    """The colour of the traffic light ahead of the ego, from ``SIGNAL_SIGHT_M`` before it."""
    found = []
    for lane, begin_m in zip(stage.route.lanes, stage.route.begins(), strict=True):
        signal = stage.town.signal_of(lane)
        if signal is None or signal.name not in tracks.signals:
            continue
        end_m = begin_m + lane.curve.length
        is_ahead = (tracks.along_m[:, 0] > end_m - SIGNAL_SIGHT_M) & (tracks.along_m[:, 0] <= end_m)
        for number, color in enumerate(SIGNAL_COLORS):
            for first, last in runs(is_ahead & (tracks.signals[signal.name] == number)):
                found.append(Interval("signal", color, float(tracks.times_s[first]), float(tracks.times_s[last])))
    return found


def _on_route(stage: Stage, tracks: Tracks) -> list[Interval]:
    """Turns at junctions and bends of roads."""
    found = []
    for lane, begin in zip(stage.route.lanes, stage.route.begins(), strict=True):
        places = []
        if stage.town.leads_back(lane):
            places.append(("u_turn", 0.0, lane.curve.length))
        elif lane.turn in ("left", "right"):
            places.append((_mirrored(stage, f"turn_{lane.turn}"), 0.0, lane.curve.length))
        elif not lane.is_connector:
            bent = np.abs(lane.curve.curvatures) > 1 / CURVE_RADIUS_M
            knots = lane.curve.knots[:, 0]
            places += [("curve", knots[first], knots[last + 1]) for first, last in runs(bent)]
        for value, first_m, last_m in places:
            times = _between(tracks, begin + first_m, begin + last_m)
            if times is not None and times[1] - times[0] > 0.5 and stage.ego_path is None:
                found.append(Interval("event", value, *times))
    return found


def _stops(tracks: Tracks) -> list[Interval]:
    """From half a second before driving on after a full stop of at least a second, for three and a half seconds.

    A halt to change gear is no stop.
    """
    found = []
    speed = np.abs(tracks.speeds[:, 0])
    step = float(tracks.times_s[1] - tracks.times_s[0])
    for first, last in runs(speed < STOP_MPS):
        later = speed[last + 1 :]
        turns_back = first > 0 and len(later) > 0 and tracks.speeds[first - 1, 0] * tracks.speeds[last + 1, 0] < 0
        if (last - first) * step >= 1.0 and len(later) and later.max() > 1.0 and not turns_back:
            end = min(tracks.times_s[last] + 3.0, tracks.times_s[-1])
            found.append(Interval("event", "resume_from_stop", float(max(tracks.times_s[last] - 0.5, 0.0)), float(end)))
    return found


def _followed(actors: list[Actor], tracks: Tracks) -> list[Interval]:
    """At least two seconds behind the same moving vehicle."""
    found = []
    for index, actor in enumerate(actors):
        if index == 0 or not actor.moves or actor.is_walker:
            continue
        gap = np.linalg.norm(tracks.poses[:, index, :2] - tracks.poses[:, 0, :2], axis=1)
        behind = (tracks.in_front == index) & (gap < 35.0)
        for first, last in runs(behind):
            if tracks.times_s[last] - tracks.times_s[first] >= 2.0:
                found.append(_interval("lead_vehicle", tracks, first, last, actor))
    return found


def _crossed(actors: list[Actor], tracks: Tracks) -> list[Interval]:
    """People who cross in front of the ego, while they walk and the ego is near."""
    found = []
    for index, actor in enumerate(actors):
        if actor.intention not in ("crossing_pedestrian", "jaywalker"):
            continue
        near = np.linalg.norm(tracks.poses[:, index, :2] - tracks.poses[:, 0, :2], axis=1) < 45.0
        walks = [
            run
            for run in runs((tracks.speeds[:, index] > 0.1) & near)
            if tracks.times_s[run[1]] > tracks.times_s[run[0]] + 1
        ]
        for first, last in walks[:1]:
            found.append(_interval(actor.intention, tracks, first, last, actor))
    return found


def _interval(value: str, tracks: Tracks, first: int, last: int, actor: Actor) -> Interval:
    return Interval("event", value, float(tracks.times_s[first]), float(tracks.times_s[last]), actor.name)
