"""The known faults of VAD's published converter, one name each; the value says what is wrong and what is right here.

Each formula of ``vad_ego`` and ``vad_agents`` asks for its own fault, so old numbers can be reproduced as a whole
(``compat: vad``) or fault by fault. Jiang et al., "VAD: Vectorized Scene Representation", ICCV 2023.
"""

from enum import Enum
from typing import Literal

Compat = Literal["none", "vad"]


class Bug(Enum):
    """Faults that ``compat: vad`` reproduces."""

    CAN_TWO_MESSAGES = (
        "can_bus takes position and orientation of the last message before the keyframe and the rest of the message "
        "after it; right: all of the message nearest in time, and none further away than 0.5 s"
    )
    CAN_FILE_ORDER = (
        "can_bus[7:16] stands in the order of the keys of the file; right: acceleration, rotation rate, velocity"
    )
    CAN_SCALAR_ROTATION = (
        "when loaded, can_bus[3:7] holds w four times, as numpy makes one number of a Quaternion; right: w, x, y, z"
    )
    CAN_ALL_OR_NOTHING = (
        "without steeranglefeedback v0 of the pose messages is thrown away too, and vehicle_monitor is not asked"
    )
    ROLL_FOR_YAW = (
        "the ego quaternion w, x, y, z is read as x, y, z, w: its roll stands for yaw in the yaw rate and turns an "
        "unsigned speed into (vx, vy), so that reversing looks like driving; right: the displacement in LIDAR axes"
    )
    FIXED_STEP = "ego speed and yaw rate divide by 0.5 s whatever the time between keyframes (0.40 to 0.60 s on mini)"
    LOOKS_AHEAD = (
        "the first keyframe takes its velocity and its past from the keyframe after it, and v0 without CAN bus is the "
        "mean over the step before and the step after (half of it at the end of a scene)"
    )
    MIXED_AXES = "acceleration is in ego axes (x forward) beside velocities in LIDAR axes (y forward)"
    SINGAPORE_STEERING = "the sign of steering is flipped in Singapore; left is positive everywhere in the CAN bus"
    ZERO_FOR_UNKNOWN = "acceleration and kappa are 0 without CAN bus; right: NaN"
    CATEGORY_BY_POSITION = (
        "the category of gt_agent_lcf_feat is its position in category.json, which differs between the file with and "
        "without lidarseg; right: the lidarseg number of its name, the one that VAD's metric filters by"
    )
    GOAL_WITHOUT_ABS = "agents that move to -x and -y are called static: max(dx, dy) < 1 forgets the absolute value"
    GOAL_NINTH_SECTOR = "an agent that moves exactly to -x has goal 8, which is sector 0 again"
    STEPS_ARE_COUNTED = (
        "the future follows the chains of keyframes and boxes and calls each link 0.5 s, also where frames are missing"
    )
    YAW_STEP_NOT_WRAPPED = "gt_agent_fut_yaw jumps by a full turn where the heading passes 180 degrees"
    BOX_YAW_TRANSPOSED = (
        "the yaw of gt_boxes is that of the inverse rotation (yaw_pitch_roll of pyquaternion): it misses the heading "
        "of a box that is also tilted in the LIDAR frame"
    )
    FLAT_VELOCITY = "the vertical part of a velocity is dropped before it is turned into the LIDAR frame, not after"
    FLOAT_SECONDS = "times are subtracted as float64 seconds since 1970, which are exact to 0.2 us only"


BUGS: dict[Compat, frozenset[Bug]] = {"none": frozenset(), "vad": frozenset(Bug)}
"""What each ``compat`` reproduces."""
