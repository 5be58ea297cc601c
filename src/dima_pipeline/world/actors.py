"""Who takes part in a scene, the world at one moment as a policy sees it, and what happened in the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M, EGO_WIDTH_M
from dima_pipeline.world.bicycle import Action, Car
from dima_pipeline.world.lights import SignalColor
from dima_pipeline.world.paths import DrivePath
from dima_pipeline.world.signal_plans import SignalPlan

Array = np.ndarray
GateKind = Literal["", "stop", "yield", "right", "oncoming", "signal", "overtake"]
Blink = tuple[float, float, str]
"""From m, to m of a path, ``left`` or ``right``: a stretch that is signalled about three seconds ahead."""
Passed = tuple[int, str, float]
"""(actor, what, place) of a gate or stop that is done with: who has begun to go, goes."""
LAMPS = ("brake", "left", "right", "emergency")
"""What the last axis of ``Tracks.lights`` stands for."""
SIGNAL_COLORS: tuple[SignalColor, ...] = ("red", "yellow", "green")
"""What the numbers of ``Tracks.signals`` stand for."""


@dataclass(frozen=True)
class Gate:
    """Where a driver gives way: ``along_m`` of its path, seen from the middle of the junction it guards."""

    along_m: float
    center: tuple[float, float]
    is_stop: bool
    """A stop line: halt even if nobody comes."""
    kind: GateKind = ""
    """To whom: ``stop`` and ``yield`` to everybody who crosses, ``right`` to those from the right, ``oncoming`` to
    those ahead, ``signal`` to a traffic light, ``overtake`` to those on the lane that ``over_m`` of the path uses.
    Empty: ``stop`` or ``oncoming``, as ``is_stop`` says."""
    signal: str = ""
    """Name of the traffic light."""
    over_m: float = 0.0
    """Where the path is back in its lane."""

    @property
    def rule(self) -> GateKind:
        """The kind, spelt out."""
        return self.kind or ("stop" if self.is_stop else "oncoming")


@dataclass(frozen=True)
class Course:
    """What a driver follows: a path, where it gives way on it, where it signals, and what it is up to."""

    path: DrivePath
    gates: tuple[Gate, ...] = ()
    blinks: tuple[Blink, ...] = ()
    intention: str = ""


@dataclass
class Actor:
    """Anything with a box. Drivers have a path; walkers have a path and a trigger; the rest stands still."""

    name: str
    category: str
    """nuScenes category."""
    size: tuple[float, float, float]
    """Length, width, height, m."""
    pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the box centre, for those without a path."""
    path: DrivePath | None = None
    start_m: float = 0.0
    speed_mps: float = 0.0
    center_ahead_m: float = 0.0
    """Box centre ahead of the path point (the rear axle)."""
    gates: tuple[Gate, ...] = ()
    speed_plan: tuple[tuple[float, float], ...] = ()
    """(second, m/s) caps of a scripted driver, linear in between; seconds count from its release."""
    is_walker: bool = False
    waits_for_ego_m: float | None = None
    """It starts when the ego is this near to ``crossing_xy`` (to itself where that is none)."""
    crossing_xy: tuple[float, float] | None = None
    role: str = "background"
    """Background may be left out where it gets in the way; ``event`` may not."""
    intention: str = ""
    color: tuple[int, int, int] | None = None
    hazard: bool = False
    """Both turn signals on, the whole scene."""
    emergency: bool = False
    """Blue lights on, the whole scene."""
    signal_plan: tuple[tuple[float, float, str], ...] = ()
    """(from second, to second, left or right): a scripted turn signal, instead of what follows from ``blinks``."""
    blinks: tuple[Blink, ...] = ()
    braking_mps2: float = 3.5
    """Hardest braking towards a lower wish."""
    stops: tuple[tuple[float, float], ...] = ()
    """(front at m of its path, seconds): where a bus halts and for how long."""
    beside: tuple[Course, ...] = ()
    """Courses on the lanes beside its own, for who may change lanes."""
    beside_until_m: float = 0.0
    """Where along its path a change of lanes must be over."""
    timed_poses: Float[Array, "K 3"] | None = None
    """Where somebody who keeps to a timetable is at each time step, and stays: x, y and unwrapped yaw of the box."""

    @property
    def moves(self) -> bool:
        """Whether it ever may."""
        return self.path is not None or self.timed_poses is not None

    @property
    def course(self) -> Course | None:
        """What it follows at first."""
        return None if self.path is None else Course(self.path, self.gates, self.blinks, self.intention)


@dataclass(frozen=True)
class LaneChange:
    """A driver has gone over to another lane: who, from when, until where along its path, to which side, and what it is
    up to afterwards."""

    index: int
    begin_s: float
    until_m: float
    side: str
    intention: str


@dataclass(frozen=True)
class Tracks:
    """What happened: time axis T, actors A in their order with the ego first."""

    times_s: Float[Array, "T"]
    poses: Float[Array, "T A 3"]
    """Box centres x, y and unwrapped yaw."""
    speeds: Float[Array, "T A"]
    along_m: Float[Array, "T A"]
    waiting: Bool[Array, "T"]
    """The ego gives way to a pedestrian."""
    in_front: Float[Array, "T"]
    """Index of the actor the ego follows, -1 for none."""
    lights: Bool[Array, "T A 4"]
    """Switched on, whether or not it blinks: brake, left, right, emergency (``lights.Lights``)."""
    signals: dict[str, Int[Array, "T"]]
    """Name of a signal -> 0 red, 1 yellow, 2 green."""
    steering_rad: Float[Array, "T"]
    """Angle of the ego's front wheels, left positive."""
    acceleration_mps2: Float[Array, "T"]
    """Of the ego along its heading; negative when it brakes ahead or speeds up in reverse."""
    changes: tuple[LaneChange, ...] = ()

    @property
    def ego_poses(self) -> Float[Array, "T 3"]:
        """Rear-axle poses of the ego, yaw unwrapped."""
        return ahead(self.poses[:, 0], -EGO_CENTER_AHEAD_M)


@dataclass(frozen=True)
class State:
    """The world at one moment, complete: ``simulation.step`` needs no more. A is the axis of ``actors``, the ego first.

    A state is never changed, so it may be kept, and stepped on in several ways.
    """

    tick: int
    time_s: float
    actors: tuple[Actor, ...]
    car: Car
    """The ego."""
    poses: Float[Array, "A 3"]
    """Box centres x, y and unwrapped yaw."""
    speeds: Float[Array, "A"]
    """m/s, negative in reverse."""
    sizes: Float[Array, "A 3"]
    along_m: Float[Array, "A"]
    """Distance along the paths."""
    halted_s: Float[Array, "A"]
    """How long each has stood."""
    lights: Bool[Array, "A 4"]
    signals: Mapping[str, SignalColor]
    plans: Mapping[str, SignalPlan]
    """When the signals show what."""
    courses: tuple[Course | None, ...]
    accelerations_mps2: Float[Array, "A"]
    """What the drivers have last decided; the ego's is in ``car``."""
    released_s: Float[Array, "A"]
    """Since when who waits for the ego goes; NaN: it still waits."""
    memory: frozenset[Passed]
    changes: tuple[LaneChange, ...]

    @property
    def paths(self) -> tuple[DrivePath | None, ...]:
        """Of the courses."""
        return tuple(None if course is None else course.path for course in self.courses)


class Policy(Protocol):
    """Whoever drives the ego: the rules (``expert.Expert``), or a planner in a closed loop."""

    def act(self, state: State) -> Action:
        """What to do for the next ``simulation.TIME_STEP_S``."""


def make_ego(path: DrivePath, start_m: float, gates: tuple[Gate, ...], blinks: tuple[Blink, ...] = ()) -> Actor:
    """The ego vehicle at its legal speed."""
    size = (EGO_LENGTH_M, EGO_WIDTH_M, 1.56)
    return Actor(
        "ego", "ego", size, path=path, start_m=start_m, speed_mps=path.limit(start_m), gates=gates,
        center_ahead_m=EGO_CENTER_AHEAD_M, role="event", blinks=blinks,
    )  # fmt: skip


def ahead(poses: Float[Array, "... 3"], by_m: float) -> Float[Array, "... 3"]:
    """Poses moved along their headings."""
    step = by_m * np.stack([np.cos(poses[..., 2]), np.sin(poses[..., 2])], -1)
    return np.concatenate([poses[..., :2] + step, poses[..., 2:]], -1)
