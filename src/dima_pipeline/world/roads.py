"""The parts of a generated town: roads, lanes, junctions, crossings, stop lines, buildings.

Everything lies in the town's own frame and drives on the right; ``Placement`` carries it to a nuScenes canvas and
mirrors it where traffic keeps left.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from shapely.geometry import MultiPolygon, Polygon

from dima_pipeline.geometry import wrap_angle
from dima_pipeline.world.curves import Curve

Array = np.ndarray
Turn = Literal["", "straight", "left", "right"]
JunctionKind = Literal["stop", "signals", "roundabout", "dead_end"]
StopKind = Literal["STOP_SIGN", "TRAFFIC_LIGHT", "YIELD"]
WALKWAY_M = 2.5
SIGNAL_HEIGHT_M = 4.2


@dataclass(frozen=True)
class RoadClass:
    """A kind of road; what the eye sees of it (lanes, kerb, houses) goes with how fast one drives there."""

    name: str
    num_forward: int
    num_backward: int
    lane_width_m: float
    parking_m: float
    """Width of the parking strip on each side."""
    setback_m: float
    """Between walkway and houses."""
    building_height_m: tuple[float, float]
    speed_mps: float
    rank: int
    """The higher rank has the right of way."""

    @property
    def lanes_half_m(self) -> float:
        """Half the width of all lanes, m."""
        return (self.num_forward + self.num_backward) * self.lane_width_m / 2

    @property
    def half_width_m(self) -> float:
        """From the axis to the kerb, m."""
        return self.lanes_half_m + self.parking_m

    def lane_offset(self, is_forward: bool, index: int) -> float:
        """Offset (m, left positive) of a lane from the axis; index 0 is next to the kerb."""
        outer = self.lanes_half_m - self.lane_width_m * (index + 0.5)
        return -outer if is_forward else outer


ROAD_CLASSES = {
    road.name: road
    for road in (
        RoadClass("residential", 1, 1, 2.9, 2.1, 1.0, (4.0, 8.0), 5.0, 0),
        RoadClass("oneway", 2, 0, 3.2, 0.0, 3.0, (9.0, 16.0), 7.5, 1),
        RoadClass("street", 1, 1, 3.4, 2.2, 7.0, (6.0, 12.0), 9.0, 2),
        RoadClass("avenue", 2, 2, 3.6, 0.0, 13.0, (15.0, 30.0), 14.0, 3),
    )
}


@dataclass(frozen=True)
class Road:
    """A road between two junctions; ``curve`` is its axis."""

    name: str
    road_class: RoadClass
    curve: Curve
    start_junction: str
    end_junction: str


@dataclass(frozen=True)
class Lane:
    """A lane of a road, or a connector through a junction (then ``junction`` and ``turn`` are set, ``road`` is not)."""

    name: str
    curve: Curve
    width_m: float
    speed_mps: float
    road: str = ""
    is_forward: bool = True
    index: int = 0
    junction: str = ""
    turn: Turn = ""
    successors: tuple[str, ...] = ()

    @property
    def is_connector(self) -> bool:
        """Whether this leads through a junction."""
        return self.junction != ""


@dataclass(frozen=True)
class Junction:
    """An intersection: its middle and its surface."""

    name: str
    center: tuple[float, float]
    polygon: Float[Array, "N 2"]
    kind: JunctionKind = "stop"
    """A dead end is the turning circle of a cul-de-sac: its only connector leads back."""
    holes: tuple[Float[Array, "M 2"], ...] = ()
    """Islands of a roundabout."""


@dataclass(frozen=True)
class Crossing:
    """A pedestrian crossing over a whole road, at ``along_m`` of its axis."""

    name: str
    road: str
    along_m: float
    polygon: Float[Array, "4 2"]
    is_midblock: bool


@dataclass(frozen=True)
class Signal:
    """A traffic light: what it shows holds for the lanes that end at it."""

    name: str
    junction: str
    lanes: tuple[str, ...]
    pose: tuple[float, float, float]
    """x, y and the yaw (rad) that its face looks in, in the town's frame; it hangs ``SIGNAL_HEIGHT_M`` above."""
    phase: int
    """Signals of a junction with the same phase are green together."""


@dataclass(frozen=True)
class StopLine:
    """Where the lanes of a road give way, ``before_end_m`` from the end of each lane; negative: beyond it."""

    name: str
    road: str
    lanes: tuple[str, ...]
    before_end_m: float
    polygon: Float[Array, "4 2"]
    kind: StopKind = "STOP_SIGN"


@dataclass(frozen=True)
class Building:
    """A house: middle, yaw, length, width, height (m) and RGB 0 ... 255."""

    x_m: float
    y_m: float
    yaw_rad: float
    size: tuple[float, float, float]
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Placement:
    """Carries the frame of a town to its canvas: mirror (traffic keeps left), turn, shift."""

    x_m: float
    y_m: float
    yaw_rad: float
    is_mirrored: bool

    @property
    def side(self) -> float:
        """-1 for mirrored towns: the factor of yaw rates and curvatures."""
        return -1.0 if self.is_mirrored else 1.0

    @property
    def sides(self) -> tuple[str, str]:
        """What is left and what is right on the canvas, in words of the town's frame."""
        return ("right", "left") if self.is_mirrored else ("left", "right")

    def points(self, xy: Float[Array, "... 2"]) -> Float[Array, "... 2"]:
        """Town points on the canvas."""
        x, y = np.asarray(xy, float)[..., 0], self.side * np.asarray(xy, float)[..., 1]
        cos, sin = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        return np.stack([self.x_m + cos * x - sin * y, self.y_m + sin * x + cos * y], -1)

    def poses(self, poses: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
        """Town poses x, y, yaw on the canvas; yaw in [-pi, pi)."""
        poses = np.asarray(poses, float)
        yaw = wrap_angle(self.yaw_rad + self.side * poses[..., 2])
        return np.concatenate([self.points(poses[..., :2]), yaw[..., None]], -1)

    def curve(self, curve: Curve) -> Curve:
        """A town curve on the canvas."""
        x, y, yaw = self.poses(np.array(curve.start))
        pieces = tuple((length, self.side * curvature) for length, curvature in curve.pieces)
        return Curve((float(x), float(y), float(yaw)), pieces)


@dataclass(frozen=True)
class Town:
    """A generated town in its own frame; ``split`` says which scenes it may host."""

    name: str
    location: str
    split: str
    placement: Placement
    roads: dict[str, Road]
    junctions: dict[str, Junction]
    lanes: dict[str, Lane]
    crossings: tuple[Crossing, ...]
    stop_lines: tuple[StopLine, ...]
    carparks: tuple[Float[Array, "4 2"], ...]
    buildings: tuple[Building, ...]
    drivable: Polygon | MultiPolygon
    walkway: Polygon | MultiPolygon
    signals: tuple[Signal, ...] = ()

    def road_of(self, lane: Lane) -> Road | None:
        """The road of a lane; none for a connector."""
        return self.roads.get(lane.road)

    def opposite(self, lane: Lane) -> list[Lane]:
        """Lanes of the same road in the other direction."""
        return [
            other
            for other in self.lanes.values()
            if other.road == lane.road != "" and other.is_forward != lane.is_forward
        ]

    def left_of(self, lane: Lane) -> Lane | None:
        """The next lane to the left in the same direction."""
        return self._neighbour(lane, lane.index + 1)

    def right_of(self, lane: Lane) -> Lane | None:
        """The next lane to the right, nearer to the kerb, in the same direction."""
        return self._neighbour(lane, lane.index - 1)

    def _neighbour(self, lane: Lane, index: int) -> Lane | None:
        return self.lanes.get(lane_name(lane.road, lane.is_forward, index)) if lane.road else None

    def leads_back(self, lane: Lane) -> bool:
        """Whether a lane is the way round the turning circle of a cul-de-sac."""
        return lane.is_connector and self.junctions[lane.junction].kind == "dead_end"

    def stop_line_of(self, lane: Lane) -> StopLine | None:
        """The stop line at the end of a lane."""
        return next((line for line in self.stop_lines if lane.name in line.lanes), None)

    def signal_of(self, lane: Lane) -> Signal | None:
        """The traffic light at the end of a lane."""
        return next((signal for signal in self.signals if lane.name in signal.lanes), None)

    def bounds(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max (m) on the canvas: roads, walkways and 60 m around them."""
        outline = self.walkway.buffer(60.0).envelope.exterior.coords
        corners = self.placement.points(np.array(outline))
        return (*map(float, corners.min(0)), *map(float, corners.max(0)))  # type: ignore[return-value]


def lane_name(road: str, is_forward: bool, index: int) -> str:
    """Name of a lane of a road."""
    return f"{road}{'f' if is_forward else 'b'}{index}"


def parking_strips(town: Town) -> list[tuple[Road, bool, Float[Array, "N 2"]]]:
    """(road, whether on its right, outline) of kerbside parking, without the mouths of the road and its crossings."""
    strips = []
    for road in town.roads.values():
        kind = road.road_class
        places = sorted(crossing.along_m for crossing in town.crossings if crossing.road == road.name)
        ends = [8.0, *(end for at in places for end in (at - 5.0, at + 5.0)), road.curve.length - 8.0]
        for begin, end in zip(ends[::2], ends[1::2], strict=True):
            if kind.parking_m > 0 and end - begin > 6.0:
                piece = road.curve.part(begin, end)
                for side in (1.0, -1.0):
                    outline = strip(piece, side * kind.lanes_half_m, side * kind.half_width_m)
                    strips.append((road, side < 0, outline))
    return strips


def with_successors(lanes: dict[str, Lane], links: list[tuple[str, str]]) -> dict[str, Lane]:
    """Lanes with their successors filled in from (from, to) pairs."""
    following: dict[str, list[str]] = {name: [] for name in lanes}
    for before, after in links:
        following[before].append(after)
    return {name: replace(lane, successors=tuple(sorted(following[name]))) for name, lane in lanes.items()}


def strip(curve: Curve, left_m: float, right_m: float) -> Float[Array, "N 2"]:
    """Outline of the area between two parallels of a curve."""
    return np.concatenate([curve.offset(left_m).polyline(), curve.offset(right_m).polyline()[::-1]])


def band(curve: Curve, begin_m: float, end_m: float, half_m: float) -> Float[Array, "4 2"]:
    """Corners of a bar across a curve between two distances along it."""
    poses = curve.poses(np.array([begin_m, end_m]))
    normal = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], -1) * half_m
    left, right = poses[:, :2] + normal, poses[:, :2] - normal
    return np.stack([left[0], left[1], right[1], right[0]])
