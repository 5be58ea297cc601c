"""What a generated driving world is made of: how many scenes, where, what happens in them, how large the images."""

from collections.abc import Sequence
from dataclasses import InitVar, astuple, field
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from dima_pipeline.plugins import Family, config_dataclass, unknown

MIN_EVENT_KEYFRAMES = 28
"""Below this a scene is too short for its planted event to be guaranteed."""
VAL_SHARE, MAX_VAL, MAX_TEST = 0.2, 120, 120
"""Of ``num_scenes``: nuScenes has 150 val and 150 test scenes, of which some have no CAN bus."""
EVENTS = Family("dima_pipeline.world.events")
"""One module a kind of event; asked for its names only."""

Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@config_dataclass
class LightShares:
    """How often scenes play by day, at dusk and at night; only the ratios count."""

    day: Share = 0.65
    dusk: Share = 0.15
    night: Share = 0.2

    def __post_init__(self) -> None:
        _check_shares("light", astuple(self))


@config_dataclass
class WeatherShares:
    """How often scenes are clear, rainy and foggy; only the ratios count."""

    rain: Share = 0.2
    clear: Share = 0.7
    fog: Share = 0.1

    def __post_init__(self) -> None:
        _check_shares("weather", astuple(self))


@config_dataclass
class WorldConfig:
    """A generated root; equal configurations give equal bytes."""

    seed: Annotated[int, Field(ge=0)] = 0
    num_scenes: InitVar[Annotated[int, Field(ge=2, le=760)] | None] = None
    """All scenes, a fifth of them val, or all of them test; where it is given, the next three follow from it."""
    num_train_scenes: Annotated[int, Field(ge=0, le=700)] = 28
    num_val_scenes: Annotated[int, Field(ge=0, le=150)] = 10
    num_test_scenes: Annotated[int, Field(ge=0, le=150)] = 10
    """Of a root whose ``version`` ends in test; as in nuScenes that is a root of its own, without train and val."""
    num_keyframes: Annotated[int, Field(ge=4, le=80)] = 30
    """Keyframes a scene, at 2 Hz; below ``MIN_EVENT_KEYFRAMES`` an event may be cut off."""
    num_train_towns: Annotated[int, Field(ge=1, le=4)] = 4
    num_val_towns: Annotated[int, Field(ge=1, le=2)] = 2
    num_test_towns: Annotated[int, Field(ge=1, le=2)] = 2
    events: tuple[str, ...] | None = None
    """Kinds of events that are planted (``world/events``); all where None. Plain drives are always among the scenes."""
    held_out_events: tuple[str, ...] = ("three_point_turn",)
    """Events that no train scene plants: zero-shot for a planner that has learned from these."""
    light: LightShares = field(default_factory=LightShares)
    weather: WeatherShares = field(default_factory=WeatherShares)
    image_width: Annotated[int, Field(ge=16, le=1600)] = 320
    image_height: Annotated[int, Field(ge=9, le=900)] = 180
    jpeg_quality: Annotated[int, Field(ge=30, le=95)] = 85
    annotation_range_m: Annotated[float, Field(gt=5, le=120)] = 60.0
    version: Annotated[str, StringConstraints(pattern=r"^v1\.0-[a-z0-9-]*(trainval|mini|test)$")] = field(
        default="v1.0-synthetic-trainval"
    )
    """Detection evaluation of the devkit wants a name that ends in trainval, mini or test."""
    overwrite: bool = False
    """Whether another generated world may be replaced; no other folder ever is."""

    def __post_init__(self, num_scenes: int | None) -> None:
        if num_scenes is not None:
            num_val = min(max(1, round(VAL_SHARE * num_scenes)), MAX_VAL)
            object.__setattr__(self, "num_train_scenes", num_scenes - num_val)
            object.__setattr__(self, "num_val_scenes", num_val)
            object.__setattr__(self, "num_test_scenes", min(num_scenes, MAX_TEST))
        if not any(self.num_scenes_by_split().values()):
            asked = " or ".join(f"num_{split}_scenes" for split in self.num_scenes_by_split())
            raise ValueError(f"a world of no scenes: {asked} must be 1 or more for version {self.version}")
        _check_events(self)

    def num_scenes_by_split(self) -> dict[str, int]:
        """How many scenes of which split the root holds: test alone, or train and val."""
        if self.version.endswith("test"):
            return {"test": self.num_test_scenes}
        return {"train": self.num_train_scenes, "val": self.num_val_scenes}


def _check_shares(name: str, shares: Sequence[Any]) -> None:
    if sum(shares) <= 0:
        raise ValueError(f"the shares of {name} are all 0: one must be larger")


def _check_events(config: WorldConfig) -> None:
    """Raises ``ValueError`` for an unknown or repeated event, and where train is left without any."""
    known = EVENTS.names()
    for key, names in (("events", config.events or ()), ("held_out_events", config.held_out_events)):
        for name in names:
            if name not in known:
                raise ValueError(unknown("event", name, known, where=f"world.{key}"))
        if len(set(names)) < len(names):
            raise ValueError(f"world.{key} names an event twice: {list(names)}")
    planted = known if config.events is None else config.events
    if config.num_scenes_by_split().get("train") and planted and set(planted) <= set(config.held_out_events):
        raise ValueError(
            f"world.held_out_events {list(config.held_out_events)} leaves no event to train on out of {list(planted)}: "
            "hold out fewer"
        )
