"""What a simulator knows at a keyframe and no box shows: lamps, signals, intentions, events (``WorldTruth``)."""

from dataclasses import dataclass, field
from typing import Any

EVENT_OF = {
    **{name: name for name in ("crossing_pedestrian", "jaywalker", "hidden_jaywalker", "cut_in", "pull_out")},
    "wrong_way": "wrong_way_cyclist",
}
"""The event that an intention of the same instance leads to."""
FORESEEN_US = 5_000_000
LASTS = ("keep_lane", "keep_walkway", "parked", "standing", "double_parked")
"""Intentions that hold all the time of their interval; the others end when they are carried out."""
Interval = tuple[str, str | None, int, int]
"""Value, instance, first and last time stamp."""


@dataclass(frozen=True)
class Truth:
    """At one moment; ``is_known`` is False for recordings."""

    is_known: bool = False
    daylight: str | None = None
    """``day``, ``dusk`` or ``night``."""
    signal: str | None = None
    """Colour of the traffic light ahead of the ego, within 60 m; None where there is none, or where it just changes."""
    lamps: dict[str, set[str]] = field(default_factory=dict)
    """What each vehicle has switched on, by instance."""
    intentions: dict[str, str] = field(default_factory=dict)
    """One value an instance; none where the tables hold several at this moment."""
    pending: frozenset[str] = frozenset()
    """Instances whose intention leads to an event that is about to come or going on."""
    events: tuple[tuple[str, str | None], ...] = ()
    """Value and instance."""


class SceneTruth:
    """The intervals of a scene."""

    def __init__(self, scene: Any) -> None:
        """``scene`` may have ``world_truth``; without rows nothing is known."""
        table = getattr(scene, "world_truth", None)
        self._rows: dict[str, list[Interval]] = {}
        columns = ("kind", "value", "instance_token", "begin_timestamp_us", "end_timestamp_us")
        if table is not None:
            for kind, value, instance, begin, end in zip(*(table[name].tolist() for name in columns), strict=True):
                named = instance if isinstance(instance, str) and instance else None
                self._rows.setdefault(kind, []).append((value, named, int(begin), int(end)))

    def at(self, time_us: int) -> Truth:
        """What is known at a time."""
        if not self._rows:
            return Truth()
        lights = self._now("light", time_us)
        lamps: dict[str, set[str]] = {}
        for value, instance, _, _ in lights:
            if instance is not None:
                lamps.setdefault(instance, set()).add(value)
        intentions: dict[str, set[str]] = {}
        for value, instance, _, _ in self._now("intention", time_us):
            intentions.setdefault(str(instance), set()).add(value)
        signals = {value for value, _, _, _ in self._now("signal", time_us)}
        single = {instance: next(iter(values)) for instance, values in intentions.items() if len(values) == 1}
        return Truth(
            is_known=True,
            daylight=next((value for value, instance, _, _ in lights if instance is None), None),
            signal=signals.pop() if len(signals) == 1 else None,
            lamps=lamps,
            intentions=single,
            pending=frozenset(name for name, value in single.items() if self._is_pending(name, value, time_us)),
            events=tuple((value, instance) for value, instance, _, _ in self._now("event", time_us)),
        )

    def _now(self, kind: str, time_us: int) -> list[Interval]:
        return [row for row in self._rows.get(kind, []) if row[2] <= time_us <= row[3]]

    def _is_pending(self, instance: str, value: str, time_us: int) -> bool:
        event = EVENT_OF.get(value)
        found = [row for row in self._rows.get("event", []) if row[:2] == (event, instance)]
        return any(begin - FORESEEN_US <= time_us < end for _, _, begin, end in found)
