"""What others show of what they are about to do: lamps of vehicles and colours of signals.

They stand in ``world_truth`` and in the pictures, and in no nuScenes field: as in real life, only who looks knows.
"""

from dataclasses import dataclass
from typing import Final, Literal

SignalColor = Literal["red", "yellow", "green"]
BLINKS_A_S: Final = 1.5
"""Of turn signals, hazard lights and emergency lights."""


@dataclass(frozen=True)
class Lights:
    """What a vehicle has switched on; ``left`` and ``right`` together are hazard lights."""

    brake: bool = False
    left: bool = False
    right: bool = False
    emergency: bool = False
    """Blue lights of police, fire engine or ambulance."""

    @property
    def hazard(self) -> bool:
        """Both turn signals."""
        return self.left and self.right


def is_lit(time_s: float) -> bool:
    """Whether what blinks is bright at a time."""
    return (time_s * BLINKS_A_S) % 1.0 < 0.5
