"""Frames, units and fixed orders that every part of the project shares.

The ego frame at t=0: x forward, y left, z up, yaw counter-clockwise; metres, radians, seconds. A data set converts on
the way in, a metric protocol on the way out, nobody else. A transform is named ``target_from_source``, so products
read ``image_from_ego = image_from_camera @ camera_from_ego``.
"""

from typing import Final, Literal

CONTRACT_VERSION: Final = 1

CAMERAS: Final = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
"""Order of the camera axis C everywhere."""

STEP_S: Final = 0.5
NUM_FUTURE_STEPS: Final = 6
"""3 s at 2 Hz, as in VAD, UniAD and DiMA."""
NUM_PAST_STEPS: Final = 4
HORIZON_RULES: Final = ("at", "mean", "any")
"""What a number at a horizon is: the value of that step, the mean of the steps up to it, whether any of them had it."""

COMMANDS: Final = ("left", "right", "straight", "unknown")
AGENT_CATEGORIES: Final = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)
"""The detection classes of nuScenes; what a category name maps to is decided by name, never by position."""
MAP_KINDS: Final = ("divider", "ped_crossing", "boundary", "centerline")
NUM_POLYLINE_POINTS: Final = 20

PERCEPTION_RANGE_M: Final = (-30.0, -15.0, 30.0, 15.0)
"""x_min, y_min, x_max, y_max in the ego frame: VAD's 60 x 30 m patch."""

EGO_LENGTH_M: Final = 4.084
EGO_WIDTH_M: Final = 1.85
LIDAR_AHEAD_OF_EGO_M: Final = 0.943713
EGO_CENTER_AHEAD_M: Final = LIDAR_AHEAD_OF_EGO_M + 0.5
"""Centre of the ego footprint ahead of the origin of the ego frame (0.5 m ahead of the LIDAR)."""

MAIN_PROTOCOL: Final = "standardised"
"""Whose scores pictures, plots and the report argue with; those of others stand beside."""

InferenceMode = Literal["planner", "teacher", "dual"]
"""Who plans: the planner alone, as in the car, the teacher alone, or both (DiMA-Dual, arXiv 2501.09757)."""

IMAGE_SOURCES: Final = ("recorded", "rendered", "missing")
VQA_CATEGORIES: Final = ("perception", "prediction", "planning", "behavior")
SPLITS: Final = ("train", "val", "test")
