"""Claims about the ego: its speed, its behaviour in DriveLM's words, and its action over the next 3 s."""

import math

from dima_pipeline.contracts.frames import STEP_S
from dima_pipeline.curation.grounding.evidence import Evidence
from dima_pipeline.curation.grounding.objects import measured
from dima_pipeline.curation.grounding.relations import step_of
from dima_pipeline.curation.grounding.shapes import wrapped_deg
from dima_pipeline.curation.grounding.statements import Said
from dima_pipeline.curation.grounding.tolerances import (
    PACES_MPS,
    SPEED_CHANGE_MPS,
    STANDING_MPS,
    STEERING_DEG,
    TURN_DEG,
    Tolerance,
)
from dima_pipeline.curation.grounding.truth import Held, within


def pace(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether the mean speed over the next 3 s is in the band of a word."""
    if not evidence.has_future:
        return Held(None, "")
    mean = sum(evidence.step_mps) / len(evidence.step_mps)
    low, high = PACES_MPS[said.value]
    return Held(within(mean, low, high, tolerance.speed_mps), f"{mean:.1f} m/s on average")


def steer(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether the heading changes over the next 3 s by as much and to the side that is said."""
    if not evidence.has_future:
        return Held(None, "")
    amount, side = said.value
    turn = _turn_deg(evidence)
    low, high = STEERING_DEG[amount]
    signed = turn if side == "left" else -turn
    if sum(evidence.step_mps) / len(evidence.step_mps) < STANDING_MPS:
        return Held(tolerance.has_hidden and None, "not moving")
    return Held(within(signed, low, high, tolerance.turn_deg), f"turns by {turn:.0f} degrees")


def measure(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether the ego is as fast as said, or drives as far in the next 3 s."""
    if said.value.unit == "m":
        if not evidence.has_future:
            return Held(None, "")
        length = sum(evidence.step_mps) * STEP_S
        truth = measured(length, said.value, tolerance.distance_m, tolerance.distance_share, tolerance)
        return Held(truth, f"{length:.1f} m in 3 s")
    speed = abs(evidence.speed_mps)
    truth = measured(speed, said.value, tolerance.speed_mps, tolerance.speed_share, tolerance)
    return Held(truth, f"{speed:.1f} m/s")


def speed_later(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether the ego is as fast at a keyframe of the next 3 s."""
    measure, time_s = said.value
    step = step_of(time_s)
    if step < 1 or step > len(evidence.later_mps) or measure.unit != "mps":
        return Held(None, "")
    speed = abs(evidence.later_mps[step - 1])
    if math.isnan(speed):
        return Held(None, "")
    truth = measured(speed, measure, tolerance.speed_mps, tolerance.speed_share, tolerance)
    return Held(truth, f"{speed:.1f} m/s")


def status(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether the ego moves now."""
    if said.value not in ("moving", "not moving", "stopped") or math.isnan(evidence.speed_mps):
        return Held(None, "")
    moves = within(abs(evidence.speed_mps), STANDING_MPS, math.inf, tolerance.moving_mps)
    truth = moves if said.value == "moving" or moves is None else not moves
    return Held(truth, f"{abs(evidence.speed_mps):.1f} m/s")


def advice(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether the driver did what is advised; free advice fails only where the driver did the opposite."""
    held = move(said, evidence, tolerance)
    is_way = said.value in ("straight", "turn left", "turn right")
    if held.truth is not False or is_way or not tolerance.has_hidden:
        return held
    return Held(False if {said.value, held.words} in _OPPOSITES else None, held.words)


_OPPOSITES = [{one, other} for one in ("stop", "stay") for other in ("start", "speed up", "keep going")]
_OPPOSITES += [{"slow down", other} for other in ("start", "speed up")]


def move(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether the driver did what is said over the next 3 s."""
    if not evidence.has_future:
        return Held(None, "")
    turn = _turn_deg(evidence)
    if said.value in ("turn left", "turn right", "straight"):
        signed = {"turn left": turn, "turn right": -turn}.get(said.value, abs(turn))
        low, high = (0.0, 5.0) if said.value == "straight" else (5.0, 360.0)
        standing = said.value == "straight" and sum(evidence.step_mps) / 6 < STANDING_MPS
        return Held(standing or within(signed, low, high, tolerance.turn_deg), f"turns by {turn:.0f} degrees")
    action = driven_action(evidence)
    if said.value == action or not tolerance.has_hidden:
        return Held(said.value == action, action)
    return Held(_is_fair(said.value, evidence), action)


def driven_action(evidence: Evidence) -> str:
    """The one word for what the driver did."""
    now, end, peak = _speeds(evidence)
    if peak < STANDING_MPS:
        return "stay"
    if now < STANDING_MPS:
        return "start"
    if end < STANDING_MPS:
        return "stop"
    if abs(end - now) < SPEED_CHANGE_MPS:
        return "keep going"
    return "speed up" if end > now else "slow down"


def _is_fair(name: str, evidence: Evidence) -> bool | None:
    """What a free writer may call it; None for what is no matter of speed."""
    now, end, peak = _speeds(evidence)
    fair = {
        "stay": peak < 1.0,
        "start": now < 1.0 and peak > 0.5,
        "stop": end < 1.0,
        "slow down": end < now - 0.3,
        "speed up": end > now + 0.3,
        "keep going": abs(end - now) < 2.5 and peak > 0.5,
        "keep walking": False,
    }
    return fair.get(name)


def _speeds(evidence: Evidence) -> tuple[float, float, float]:
    steps = evidence.step_mps
    now = abs(evidence.speed_mps)
    now = steps[0] if math.isnan(now) else now
    return now, steps[-1], max(now, *steps)


def _turn_deg(evidence: Evidence) -> float:
    return wrapped_deg(math.degrees(evidence.path[-1].yaw))


def turn_ahead(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether the driver turns within 3 s."""
    if not evidence.has_future:
        return Held(None, "")
    turn = _turn_deg(evidence)
    return Held(within(abs(turn), TURN_DEG, 361.0, tolerance.turn_deg), f"turns by {turn:.0f} degrees")
