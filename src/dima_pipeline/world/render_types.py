"""What the renderer draws, as plain data: ground, boxes, signals, trees and the backdrop; and coloured meshes."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from dima_pipeline.contracts.frames import AGENT_CATEGORIES
from dima_pipeline.plugins import unknown
from dima_pipeline.world.lights import Lights, SignalColor

Array = np.ndarray

NO_LIGHTS: Final = Lights()
AREA_KINDS: Final = ("road", "carpark", "intersection", "walkway", "crossing")
"""In painting order: a later kind covers an earlier one."""
LINE_KINDS: Final = ("wear", "divider", "road_divider", "boundary", "stop_line")
"""``wear`` is the middle of a lane: tyres have darkened it to both sides."""
BOX_CATEGORIES: Final = (*AGENT_CATEGORIES, "building")
MAX_INSTANCE_ID: Final = 2**24 - 1
"""Instance ids are drawn as 24-bit colours."""


@dataclass(frozen=True)
class GroundArea:
    """A paved polygon of the ground plane, world x, y (m); rings may be open or closed, in either direction."""

    kind: str
    exterior: Float[Array, "N 2"]
    holes: tuple[Float[Array, "M 2"], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in AREA_KINDS:
            raise ValueError(unknown("kind of ground area", self.kind, list(AREA_KINDS)))
        for ring in (self.exterior, *self.holes):
            if np.ndim(ring) != 2 or np.shape(ring)[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
                raise ValueError(f"a ring of a '{self.kind}' needs 3 or more finite points, got {np.shape(ring)}")


@dataclass(frozen=True)
class GroundLine:
    """A painted line or a kerb on the ground plane, world x, y (m)."""

    kind: str
    points: Float[Array, "N 2"]

    def __post_init__(self) -> None:
        if self.kind not in LINE_KINDS:
            raise ValueError(unknown("kind of ground line", self.kind, list(LINE_KINDS)))


@dataclass(frozen=True, eq=False)
class RenderSignal:
    """A traffic light on its pole: the middle of its face (3,) in the world (m) and the yaw (rad) it looks in."""

    center: Float[Array, "3"]
    yaw: float
    color: SignalColor


@dataclass(frozen=True, eq=False)
class RenderTree:
    """A tree: where it stands (x, y in the world, m) and how high it is (m); its looks follow from both."""

    center: Float[Array, "2"]
    height: float

    def __post_init__(self) -> None:
        if not (np.shape(self.center) == (2,) and 1.0 <= self.height <= 40.0):
            raise ValueError(f"a tree is 1 ... 40 m high at a place x, y; got {self.height} m at {self.center}")


@dataclass(frozen=True, eq=False)
class RenderBox:
    """An upright box: centre (3,) in the world (m), yaw (rad), size length, width, height (m).

    ``color`` is the red, green, blue of its paint or clothes (0 ... 255); without it the instance id picks one.
    """

    center: Float[Array, "3"]
    yaw: float
    size: tuple[float, float, float]
    category: str
    instance_id: int
    color: tuple[int, int, int] | None = None
    lights: Lights = NO_LIGHTS
    """What is bright at the moment: who blinks passes lamps that are off half of the time."""

    def __post_init__(self) -> None:
        if self.category not in BOX_CATEGORIES:
            raise ValueError(unknown("category of a box", self.category, list(BOX_CATEGORIES)))
        if not 1 <= self.instance_id <= MAX_INSTANCE_ID:
            raise ValueError(f"instance_id of a box is 1 ... {MAX_INSTANCE_ID}, got {self.instance_id}")
        if min(self.size) <= 0:
            raise ValueError(f"size of box {self.instance_id} must be positive, got {self.size}")


@dataclass(frozen=True)
class Backdrop:
    """Light and weather of a scene."""

    light: Literal["day", "dusk", "night"] = "day"
    weather: Literal["clear", "rain", "fog"] = "clear"

    def __post_init__(self) -> None:
        if self.light not in ("day", "dusk", "night"):
            raise ValueError(unknown("light", self.light, ["day", "dusk", "night"]))
        if self.weather not in ("clear", "rain", "fog"):
            raise ValueError(unknown("weather", self.weather, ["clear", "rain", "fog"]))

    @property
    def lamps_are_on(self) -> bool:
        """Whether vehicles drive with headlamps and tail lamps: always, but on a clear day."""
        return self != Backdrop()


@dataclass(frozen=True)
class Mesh:
    """Triangles with a colour at each vertex; double precision until the origin is taken off."""

    points: Float[Array, "P 3"]
    rgb: UInt8[Array, "P 3"]
    triangles: Int[Array, "T 3"]


def concatenate(meshes: list[Mesh]) -> Mesh:
    """One mesh of many; painting order is kept."""
    offsets = np.cumsum([0] + [len(mesh.points) for mesh in meshes])
    return Mesh(
        np.concatenate([np.zeros((0, 3)), *(mesh.points for mesh in meshes)]),
        np.concatenate([np.zeros((0, 3), np.uint8), *(mesh.rgb for mesh in meshes)]),
        np.concatenate(
            [np.zeros((0, 3), np.int64), *(m.triangles + start for m, start in zip(meshes, offsets, strict=False))]
        ),
    )


def quad_triangles(num_quads: int) -> Int[Array, "T 3"]:
    """Two triangles for each four consecutive points."""
    first = 4 * np.arange(num_quads)[:, None, None]
    return (first + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)


_LIGHT: Final = {"day": (1.0, 1.0, 1.0), "dusk": (0.72, 0.61, 0.6), "night": (0.36, 0.37, 0.45)}


def tint(rgb: Float[Array, "... 3"], backdrop: Backdrop) -> Float[Array, "... 3"]:
    """Colours 0 ... 255 as they look in the light and weather: rain and fog take contrast, dusk and night light."""
    rgb = np.asarray(rgb, float)
    if backdrop.weather != "clear":
        rgb = 0.9 * (0.6 * rgb + 0.25 * rgb.mean(-1, keepdims=True) + 0.15 * 128)
    return np.asarray(rgb * _LIGHT[backdrop.light])
