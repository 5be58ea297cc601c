"""Which keyframes of a generated scene truly belong to a slice, read off the simulator.

Everything comes from the 20 Hz state of ``world.generate.play_scene`` in the frame of the town: where everybody is, how
fast, how large, on which lanes. No table, no planted interval and no code of the slices is looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from shapely import LineString, Polygon
from shapely.ops import substring

TICKS = 10
"""Simulation steps from one keyframe to the next."""
HZ = 20
EGO_FRONT_M, EGO_REAR_M, EGO_HALF_M = 3.485713, 0.598287, 0.925
"""From the rear axle to the bumpers, and half the width."""
VEHICLES = tuple(f"vehicle.{kind}" for kind in ("car", "truck", "bus", "trailer", "construction", "emergency"))
Truth = np.ndarray | tuple[np.ndarray, np.ndarray]
"""Bool by keyframe: what is true, or what is so surely and what possibly, with what is in between left unjudged."""


@dataclass(frozen=True)
class Play:
    """A simulated scene. T steps, A others without the ego."""

    light: str
    weather: str
    times: np.ndarray
    ego: np.ndarray
    """(T, 3) rear axle x, y, unwrapped yaw."""
    speed: np.ndarray
    """(T,) signed, of the ego."""
    poses: np.ndarray
    """(T, A, 3) box centres."""
    sizes: np.ndarray
    """(A, 2) length, width."""
    kinds: tuple[str, ...]
    """nuScenes categories."""
    parked: np.ndarray
    """(A,) parked, without anybody in it."""
    lanes: np.ndarray
    """(N, 2) middle of the lanes that the ego is meant to take."""
    lane_width: float
    num_keyframes: int

    @property
    def ticks(self) -> np.ndarray:
        """Simulation steps of the keyframes."""
        return np.arange(self.num_keyframes) * TICKS

    @cached_property
    def pace(self) -> np.ndarray:
        """(T, A) of the others."""
        return np.linalg.norm(np.gradient(self.poses[..., :2], 1 / HZ, axis=0), axis=-1)

    @cached_property
    def yaw_rate(self) -> np.ndarray:
        """(T,) of the ego."""
        return np.gradient(self.ego[:, 2], 1 / HZ)

    def are(self, *kinds: str) -> np.ndarray:
        """(A,) whether somebody is of one of these kinds."""
        return np.array([kind.startswith(kinds) for kind in self.kinds], bool)

    def seen_from_ego(self, tick: int) -> np.ndarray:
        """(A, 2) places of the others ahead and to the left of the rear axle."""
        x, y, yaw = self.ego[tick]
        away = self.poses[tick, :, :2] - (x, y)
        return np.stack([away @ (np.cos(yaw), np.sin(yaw)), away @ (-np.sin(yaw), np.cos(yaw))], -1)

    def way(self, tick: int, beyond_m: float) -> LineString:
        """What the ego drives in the next 3 s, and straight on for ``beyond_m``."""
        part = self.ego[tick : tick + 3 * HZ + 1]
        part = part[: 1 + (len(part) - 1) // TICKS * TICKS]
        # Who stands has no way, and one of no length has no distances.
        part = part[np.append(True, np.linalg.norm(np.diff(part[:, :2], axis=0), axis=1) > 1e-6)]
        end = part[-1, :2] + beyond_m * np.array([np.cos(part[-1, 2]), np.sin(part[-1, 2])])
        return LineString(np.concatenate([part[:, :2], end[None]]))

    def along_lanes(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places (N, 2) as distance along the lanes and distance to their left."""
        line = LineString(self.lanes)
        along = shapely.line_locate_point(line, shapely.points(xy))
        ahead = shapely.get_coordinates(shapely.line_interpolate_point(line, along + 0.05))
        behind = shapely.get_coordinates(shapely.line_interpolate_point(line, np.maximum(along - 0.05, 0)))
        step = (ahead - behind) / np.maximum(np.linalg.norm(ahead - behind, axis=1, keepdims=True), 1e-9)
        away = xy - (ahead + behind) / 2
        return along, step[:, 0] * away[:, 1] - step[:, 1] * away[:, 0]


def play_of(drama, num_keyframes: int) -> Play:
    """The state of a ``world.drama.Drama``."""
    tracks, others = drama.tracks, drama.actors[1:]
    curves = drama.stage.planned or tuple(lane.curve for lane in drama.stage.route.lanes)
    return Play(
        drama.light,
        drama.weather,
        tracks.times_s,
        tracks.ego_poses,
        tracks.speeds[:, 0],
        tracks.poses[:, 1:],
        np.array([actor.size[:2] for actor in others]).reshape(-1, 2),
        tuple(actor.category for actor in others),
        np.array([actor.intention == "parked" for actor in others], bool),
        np.concatenate([curve.poses(np.arange(0.0, curve.length, 1.0))[:, :2] for curve in curves]),
        drama.stage.route.lanes[0].width_m,
        num_keyframes,
    )


def at_keyframes(is_true: Callable[[Play, int], bool]) -> Callable[[Play], np.ndarray]:
    """A question about one moment, asked at every keyframe."""

    def truth(play: Play) -> np.ndarray:
        return np.array([is_true(play, int(tick)) for tick in play.ticks], bool)

    return truth


def in_spans(spans: Callable[[Play], list[tuple[float, float]]]) -> Callable[[Play], np.ndarray]:
    """Keyframes within the (begin, end) seconds of something that lasts."""

    def truth(play: Play) -> np.ndarray:
        times = play.times[play.ticks]
        return np.any([(times >= begin) & (times <= end) for begin, end in [*spans(play), (1.0, 0.0)]], axis=0)

    return truth


def spells(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of true values."""
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(int))
    return list(zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0) - 1, strict=True))


def later_place(play: Play, tick: int) -> np.ndarray | None:
    """Where the rear axle is 3 s later, ahead and to the left; none where the scene has ended."""
    if tick + 3 * HZ >= len(play.ego):
        return None
    (x, y, yaw), away = play.ego[tick], play.ego[tick + 3 * HZ, :2]
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    return turn @ (away - (x, y))


@at_keyframes
def turning(play: Play, tick: int) -> bool:
    """The rear axle ends 2 m aside."""
    there = later_place(play, tick)
    return there is not None and bool(abs(there[1]) >= 2.0)


@at_keyframes
def resume_from_stop(play: Play, tick: int) -> bool:
    """It has hardly moved for 2 s (or as long as the scene lasts, 1 s at least) and soon drives off."""
    if tick < HZ or tick + 3 * HZ >= len(play.ego):
        return False
    before = np.abs(play.speed[max(tick - 2 * HZ, 0) : tick + 1]).mean()
    moved = np.cumsum(np.abs(play.speed[tick : tick + 3 * HZ + 1])) / HZ
    return bool(before < 0.2 and moved[-1] >= 2.0 and moved[3 * HZ // 2] >= 0.2)


@in_spans
def three_point_turn(play: Play) -> list[tuple[float, float]]:
    """From where the wheel is first turned to where it is straight again, with reversing in between and half a turn."""
    turns, reverses = np.abs(play.yaw_rate) > 0.05, play.speed < -0.3
    busy = turns | (play.speed < 0.3)
    for first, last in spells(~busy):
        # A cusp takes a moment.
        if last - first < HZ / 2:
            busy[first : last + 1] = True
    found = []
    for first, last in spells(busy):
        steered = first + np.flatnonzero((turns | reverses)[first : last + 1])
        if len(steered) == 0:
            continue
        part = slice(steered[0], steered[-1] + 1)
        if reverses[part].sum() >= HZ / 2 and np.ptp(play.ego[part, 2]) >= np.radians(100):
            found.append((play.times[steered[0]], play.times[steered[-1]]))
    return found


@at_keyframes
def construction(play: Play, tick: int) -> bool:
    """Three cones, barriers or machines within 20 m ahead and 5 m of the way."""
    ahead = play.seen_from_ego(tick)[:, 0]
    asked = play.are("movable_object.barrier", "movable_object.trafficcone", "vehicle.construction")
    asked &= (ahead >= 0) & (ahead <= 20)
    near = shapely.distance(shapely.points(play.poses[tick, :, :2]), play.way(tick, 20.0)) <= 5.0
    return int((asked & near).sum()) >= 3


@at_keyframes
def close_pedestrian(play: Play, tick: int) -> bool:
    """Somebody on foot or on a bicycle within 3 m of the way of the next 3 s."""
    ahead = play.seen_from_ego(tick)[:, 0]
    asked = play.are("human.") | (play.are("vehicle.bicycle") & ~play.parked)
    asked &= (ahead >= 0) & (ahead <= 30)
    near = shapely.distance(shapely.points(play.poses[tick, :, :2]), play.way(tick, EGO_FRONT_M)) <= 3.0
    return bool((asked & near).any())


@in_spans
def hard_brake(play: Play) -> list[tuple[float, float]]:
    """Half a second of braking at 3 m/s2 on the mean, and the second before its end."""
    half = HZ // 2
    lost = (np.abs(play.speed[:-half]) - np.abs(play.speed[half:])) * HZ / half
    ends = play.times[half:][lost >= 3.0]
    return [(end - 1.0, end) for end in ends]


def num_near(play: Play, tick: int) -> int:
    """Who takes part in traffic within 30 m of the rear axle."""
    takes_part = play.are("human.", "vehicle.") & ~play.parked
    near = np.linalg.norm(play.poses[tick, :, :2] - play.ego[tick, :2], axis=1) <= 30.0
    return int((takes_part & near).sum())


def dense(play: Play, at_least: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """So many of them. Surely is one more: a car that no beam ever meets behind another is not annotated, and nuScenes
    has no detection class for an ambulance."""
    num = np.array([num_near(play, int(tick)) for tick in play.ticks])
    return num > at_least, num >= at_least


def dense_of_ten(play: Play) -> tuple[np.ndarray, np.ndarray]:
    """Ten: fifteen hardly ever come together in the generated world."""
    return dense(play, 10)


def roll_out(play: Play, tick: int, seconds: np.ndarray) -> np.ndarray:
    """(N, 3) of the rear axle if speed and turn rate stay as they are."""
    yaw = play.ego[tick, 2]
    steps = np.diff(seconds, prepend=0.0)
    turned = yaw + play.yaw_rate[tick] * (seconds - steps / 2)
    moved = play.speed[tick] * steps[:, None] * np.stack([np.cos(turned), np.sin(turned)], -1)
    places = np.cumsum(moved, axis=0) + play.ego[tick, :2]
    return np.column_stack([places, yaw + play.yaw_rate[tick] * seconds])


@at_keyframes
def kinematic_outlier(play: Play, tick: int) -> bool:
    """After 3 s it is 8 m or more from where constant speed and turn rate lead."""
    if tick + 3 * HZ >= len(play.ego):
        return False
    end = roll_out(play, tick, np.arange(1, 301) / 100)[-1]
    return bool(np.linalg.norm(end[:2] - play.ego[tick + 3 * HZ, :2]) >= 8.0)


def rare_command(play: Play) -> tuple[np.ndarray, np.ndarray]:
    """The lanes that the ego is meant to take turn by 20 degrees and go 2 m aside within 3 s, or 20 m.

    A navigator knows them by a point every 2 m: surely is 22 degrees and 2.2 m, possibly 18 degrees and 1.8 m.
    """
    turns = np.array([_planned_turn(play, int(tick)) for tick in play.ticks])
    return (turns >= (22.0, 2.2)).all(1), (turns >= (18.0, 1.8)).all(1)


def _planned_turn(play: Play, tick: int) -> tuple[float, float]:
    """Degrees and metres to a side."""
    line, reach = LineString(play.lanes), max(20.0, 3 * abs(play.speed[tick]))
    here = line.project(shapely.Point(play.ego[tick, :2]))
    part = shapely.get_coordinates(substring(line, here, here + reach))
    steps = np.diff(part, axis=0)
    steps = steps[np.linalg.norm(steps, axis=1) > 1e-3]
    yaw = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    away = part[-1] - part[0]
    aside = away[1] * np.cos(yaw[0]) - away[0] * np.sin(yaw[0])
    return float(np.degrees(abs(yaw[-1] - yaw[0]))), float(abs(aside))


@in_spans
def overtaking(play: Play) -> list[tuple[float, float]]:
    """A vehicle stands in the lane within 30 m, and the ego drives past it and is back in its lane within 12 s."""
    own, left = play.along_lanes(play.ego[:, :2])
    found = []
    for index in np.flatnonzero(play.are(*VEHICLES)):
        for first, last in spells(greatest(play.pace[:, index], 2 * HZ) < 0.3):
            # It stands in one place.
            (along,), (aside,) = play.along_lanes(play.poses[first : first + 1, index, :2])
            length, width = play.sizes[index]
            gap = along - own[: last + 1]
            if abs(aside) >= width / 2 + EGO_HALF_M - 0.3:
                continue
            for tick in first + np.flatnonzero((gap[first:] <= 30.0) & (gap[first:] >= EGO_FRONT_M)):
                later = slice(tick, min(tick + 12 * HZ, last) + 1)
                beyond = np.flatnonzero(own[later] > along + length / 2)
                if len(beyond) and (np.abs(left[tick : tick + 12 * HZ + 1])[beyond[0] :] <= 1.0).any():
                    found.append((play.times[tick], play.times[tick + beyond[0] - 1]))
    return found


def greatest(values: np.ndarray, reach: int) -> np.ndarray:
    """The greatest value within ``reach`` steps on either side."""
    padded = np.pad(values, reach, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1)


@in_spans
def cut_in(play: Play) -> list[tuple[float, float]]:
    """A vehicle that drives along on the next lane comes into the ego's, with less than 15 m between the two."""
    own, left = play.along_lanes(play.ego[:, :2])
    in_lane = np.abs(left) < 1.0
    found = []
    near = np.linalg.norm(play.poses[..., :2] - play.ego[:, None, :2], axis=-1).min(0) < 30.0
    for index in np.flatnonzero(play.are(*VEHICLES, "vehicle.motorcycle") & near & (play.pace.max(0) > 2.0)):
        along, aside = play.along_lanes(play.poses[:, index, :2])
        share = np.abs(aside) / play.lane_width
        ahead_m = along - own - play.sizes[index, 0] / 2 - EGO_FRONT_M
        turned = np.cos(play.poses[:, index, 2] - play.ego[:, 2])
        drives = (turned > np.cos(np.radians(20))) & (play.pace[:, index] > 2.0)
        for line in np.flatnonzero((share[:-1] >= 0.5) & (share[1:] < 0.5)) + 1:
            begins, ends = np.flatnonzero(share[:line] > 0.66), np.flatnonzero(share[line:] < 0.28)
            on_next_lane = (share > 0.9) & drives
            if not len(begins) or not len(ends) or not on_next_lane[max(line - 4 * HZ, 0) : line].any():
                continue
            part = slice(begins[-1], line + ends[0] + 1)
            if drives[part].all() and in_lane[part].all() and 0 < ahead_m[line + ends[0]] < 15.0:
                found.append((play.times[begins[-1]], play.times[line + ends[0]]))
    return found


def short_ttc(play: Play) -> tuple[np.ndarray, np.ndarray]:
    """Somebody ahead whose way crosses that of the ego would be hit within 4 s if all went on as they do now.

    What is foretold for seconds hangs on centimetres now: surely is within 3.6 s and by 0.2 m, possibly within 4.4 s
    and at a moment up to a quarter of a second away.
    """
    surely = [_meets_somebody(play, int(tick), 3.6, -0.2) for tick in play.ticks]
    moments = np.clip(play.ticks[:, None] + (0, -HZ // 4, HZ // 4), 0, len(play.times) - 1)
    possibly = [any(_meets_somebody(play, int(tick), 4.4, 0.2) for tick in ticks) for ticks in moments]
    return np.array(surely, bool), np.array(possibly, bool)


def _meets_somebody(play: Play, tick: int, within_s: float, margin_m: float) -> bool:
    if abs(play.speed[tick]) < 1.0 + margin_m / 2:
        return False
    ahead, seconds = play.seen_from_ego(tick), np.arange(1, round(within_s * HZ) + 1) / HZ
    asked = play.are("human.", "vehicle.") & (play.pace[tick] >= 0.8 - margin_m / 2) & (ahead[:, 0] > -margin_m)
    own = roll_out(play, tick, seconds)
    asked &= np.linalg.norm(ahead, axis=1) < 60 + margin_m
    return any(_crosses(play, tick, int(index), own, seconds, margin_m) for index in np.flatnonzero(asked))


def _crosses(play: Play, tick: int, index: int, own: np.ndarray, seconds: np.ndarray, margin_m: float) -> bool:
    x, y, yaw = play.poses[tick, index]
    # Nobody's motion is told from a twentieth of a second.
    before, after = max(tick - HZ // 4, 0), min(tick + HZ // 4, len(play.times) - 1)
    vx, vy, turn = (play.poses[after, index] - play.poses[before, index]) * HZ / (after - before)
    turn *= play.kinds[index].startswith("vehicle.")
    mean = turn * seconds / 2
    places = np.stack([vx * np.cos(mean) - vy * np.sin(mean), vx * np.sin(mean) + vy * np.cos(mean)], -1)
    places = (x, y) + (np.sinc(mean / np.pi) * seconds)[:, None] * places
    length, width = play.sizes[index]
    for at in np.flatnonzero(np.linalg.norm(places - own[:, :2], axis=1) < length + width + 4.0):
        other = outline((*places[at], yaw + turn * seconds[at]), length / 2, length / 2, width / 2)
        if outline(own[at], EGO_FRONT_M, EGO_REAR_M, EGO_HALF_M).buffer(margin_m).intersects(other):
            course = np.arctan2(vy, vx) + turn * seconds[at] - own[at, 2]
            return bool(abs(np.sin(course)) >= np.sin(np.radians(45 - 15 * margin_m)))
    return False


def outline(pose: np.ndarray | tuple[float, ...], front: float, rear: float, half: float) -> Polygon:
    """A box that reaches so far ahead of, behind and to the sides of a pose."""
    x, y, yaw = pose
    corners = np.array([[front, half], [front, -half], [-rear, -half], [-rear, half]])
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    return Polygon(corners @ turn + (x, y))


@at_keyframes
def night(play: Play, tick: int) -> bool:
    """The light."""
    return play.light == "night"


@at_keyframes
def rain(play: Play, tick: int) -> bool:
    """The weather."""
    return play.weather == "rain"
