"""What words mean in numbers, and by how much free text may miss them: the one place for both.

Pairs of source ``rules`` are held to the meaning exactly. Whoever writes freely (a person, an LLM, an imported data
set) rounds, and sees more than the perception range: their text fails only where no fair reading of it is true.
"""

from dataclasses import dataclass

MAX_CHARACTERS = 20_000
"""Longer text is not read: no person and no rule writes it about one keyframe."""

MOVING_MPS = 0.5
SEVERAL = (3, 10**6)
SECTORS = {
    "front": (0, 30, 30),
    "front left": (60, 30, 30),
    "back left": (120, 30, 30),
    "back": (180, 30, 30),
    "back right": (-120, 30, 30),
    "front right": (-60, 30, 30),
    "left": (90, 60, 90),
    "right": (-90, 60, 90),
    "ahead": (0, 30, 30),
    "behind": (180, 30, 30),
}
"""Direction: bearing of its middle in degrees, and half of its width that is surely and possibly meant. Six are the
sectors of 60 degrees of the cameras."""

PACES_MPS = {
    "not moving": (0.0, 0.5),
    "slowly": (0.5, 3.0),
    "normal": (3.0, 8.0),
    "fast": (8.0, 12.0),
    "very fast": (12.0, 1e9),
}
"""Mean speed over the next 3 s (DriveLM's five words)."""
STEERING_DEG = {"straight": (0.0, 5.0), "slightly": (5.0, 20.0), "turning": (20.0, 360.0)}
"""Change of heading over the next 3 s."""
STANDING_MPS = 0.5
SPEED_CHANGE_MPS = 1.5
"""Between now and 3 s on: less is "keep going"."""
TURN_DEG = 20.0
STAYS_M = 0.5
STARTS_M = 1.0
MIN_FUTURE_STEPS = 4
"""A future known for less than 2 s is not judged."""
PATH_BEYOND_M = 30.0
"""How far the driven path is prolonged straight on to say what is in the way."""
CLEAR_M = 20.0
KEEPS_MPS = 1.0
BESIDE_M = 2.0
"""Further ahead, behind, left or right than something else: by so much."""
HEADING_DEG = 30.0
"""The same way, the opposite way or across: the velocity within this of the axes of the ego frame."""
CLOSER_M, LEVEL_M = 2.0, 1.0
"""Closer or further away after 3 s than now: by more than the first; as far away: by less than the second."""
NEAR_M, FAR_M = 5.0, 10.0
"""Of medium importance is what comes near, of low what stays far; of high what gets in the way."""
BEHIND_RANK_M = OFF_PATH_RANK_M = 10.0
"""Priority is by distance, and so much later for what is behind or not in the way."""
CROSSING_AHEAD_M = 25.0
CROSSING_ASIDE_M = 6.0
DIVIDER_M = 5.0


@dataclass(frozen=True)
class RollOut:
    """The simple manoeuvres that collision claims speak of, all from the speed of now."""

    accelerate_mps2: float = 2.0
    brake_mps2: float = 4.0
    lateral_mps2: float = 3.0
    radius_m: float = 8.0
    """Of the tightest turn."""
    arc_mps: float = 3.0
    """Turns are driven at least so fast."""
    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    strengths: tuple[float, ...] = (0.8, 1.0, 1.2)
    """Factors: a collision is likely (high) where all nine variants touch, unlikely (low) where none does."""
    roam_m: float = 13.5
    """How much further than at their speed of now others may get in 3 s (by 3 m/s2), and ..."""
    walk_m: float = 9.0
    """... how far a pedestrian gets, where the future is not known."""
    substeps: int = 2
    """Between two recorded steps, where others move straight on."""


ROLL_OUT = RollOut()


@dataclass(frozen=True)
class Tolerance:
    """By how much what is said may differ from what the tables hold."""

    bearing_deg: float = 0.0
    """Of a direction's edges: within it, an object may be said to be on either side."""
    distance_m: float = 0.0
    distance_share: float = 0.0
    """Of the number said; both kinds of distance tolerance add up."""
    about_share: float = 0.0
    """In place of ``distance_share`` where the text says "about"."""
    speed_mps: float = 0.0
    speed_share: float = 0.0
    moving_mps: float = 0.0
    """Around ``MOVING_MPS`` where no attribute tells whether something moves."""
    turn_deg: float = 0.0
    """Of the edges of ``STEERING_DEG``."""
    margin_m: float = 0.0
    """Of lengths that decide whether something is near, in the way or collides."""
    has_hidden: bool = False
    """Whether objects that are hidden or outside the perception range may be meant."""
    has_bumpers: bool = False
    """Whether a distance may be meant from bumper to bumper instead of from centre to origin."""


EXACT = Tolerance(about_share=0.1)
FREE = Tolerance(
    bearing_deg=15.0,
    distance_m=1.0,
    distance_share=0.15,
    about_share=0.25,
    speed_mps=0.5,
    speed_share=0.15,
    moving_mps=0.4,
    turn_deg=5.0,
    margin_m=1.0,
    has_hidden=True,
    has_bumpers=True,
)


def tolerance_of(source: str) -> Tolerance:
    """By who wrote a pair."""
    return EXACT if source == "rules" else FREE
