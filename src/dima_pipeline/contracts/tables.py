"""The tables of the project, one pandera class each; the class is the documentation and the catalog's validator.

Positions are in the ego frame of the row's keyframe unless a column says ``global``. Unknown is null, never a magic
number. Lists (polyline points, matrices) are stored flat, row by row.
"""

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from dima_pipeline.contracts.findings import SEVERITIES
from dima_pipeline.contracts.frames import (
    AGENT_CATEGORIES,
    CAMERAS,
    COMMANDS,
    IMAGE_SOURCES,
    MAP_KINDS,
    NUM_POLYLINE_POINTS,
    SPLITS,
    VQA_CATEGORIES,
)


def has_length(length: int) -> pa.Check:
    """Check that every list in a column holds ``length`` finite numbers."""
    return pa.Check(
        lambda values: values.map(lambda v: len(v) == length and bool(np.isfinite(np.asarray(v, float)).all())),
        error=f"a list of {length} finite numbers",
    )


class Table(pa.DataFrameModel):
    """Base of all tables: columns are exactly those declared, types are coerced where it is lossless."""

    class Config:
        strict = True
        coerce = True


class Scenes(Table):
    """One row per scene."""

    scene_token: Series[str] = pa.Field(unique=True)
    name: Series[str] = pa.Field(unique=True)
    log_token: Series[str]
    location: Series[str]
    description: Series[str]
    split: Series[str] = pa.Field(isin=SPLITS)
    num_samples: Series[int] = pa.Field(ge=1)
    first_timestamp_us: Series[int]
    last_timestamp_us: Series[int]


class SampleCore(Table):
    """The columns of ``samples`` that do not repeat for each camera; see ``Samples``."""

    sample_token: Series[str] = pa.Field(unique=True)
    scene_token: Series[str]
    index: Series[int] = pa.Field(ge=0)
    """Position in the scene."""
    timestamp_us: Series[int]
    prev: Series[str] = pa.Field(nullable=True)
    next: Series[str] = pa.Field(nullable=True)
    ego_x_m: Series[float]
    """Global ego pose (of LIDAR_TOP, the reference of a keyframe); quaternion w, x, y, z."""
    ego_y_m: Series[float]
    ego_z_m: Series[float]
    ego_qw: Series[float]
    ego_qx: Series[float]
    ego_qy: Series[float]
    ego_qz: Series[float]
    speed_mps: Series[float] = pa.Field(nullable=True)
    """Signed: negative when reversing. Null without CAN bus."""
    acceleration_mps2: Series[float] = pa.Field(nullable=True)
    yaw_rate_radps: Series[float] = pa.Field(nullable=True)
    steering_rad: Series[float] = pa.Field(nullable=True)
    command_driven: Series[str] = pa.Field(isin=COMMANDS)
    """From the driven future (VAD's rule): for comparison only, it looks ahead."""
    command_route: Series[str] = pa.Field(isin=COMMANDS)
    """From the route or the lane graph: does not look ahead."""


def camera_columns(camera: str) -> dict[str, pa.Column]:
    """The columns of one camera, e.g. ``cam_front_file``.

    ``file``: path below the dataroot. ``source``: recorded, rendered or missing. ``intrinsics``: 3x3 in pixels of the
    recorded image of ``width`` x ``height``. ``camera_from_ego``: 4x4, from the ego frame of the keyframe (not of the
    camera's own time stamp) to the camera frame (x right, y down, z forward).
    """
    name = camera.lower()
    return {
        f"{name}_file": pa.Column(str),
        f"{name}_source": pa.Column(str, pa.Check.isin(IMAGE_SOURCES)),
        f"{name}_width": pa.Column(int, pa.Check.ge(1)),
        f"{name}_height": pa.Column(int, pa.Check.ge(1)),
        f"{name}_intrinsics": pa.Column(object, has_length(9)),
        f"{name}_camera_from_ego": pa.Column(object, has_length(16)),
    }


class Samples:
    """One row per keyframe: ``SampleCore`` plus ``camera_columns`` for every camera of ``frames.CAMERAS``."""

    @classmethod
    def to_schema(cls) -> pa.DataFrameSchema:
        """The complete schema."""
        columns = {name: column for camera in CAMERAS for name, column in camera_columns(camera).items()}
        return SampleCore.to_schema().add_columns(columns)

    @classmethod
    def validate(cls, frame: pd.DataFrame, *args: object, **kwargs: object) -> pd.DataFrame:
        """Check ``frame``; raises pandera's ``SchemaErrors`` or ``SchemaError``."""
        return cls.to_schema().validate(frame, lazy=True)


class Agents(Table):
    """One row per annotated box in a keyframe."""

    sample_token: Series[str]
    instance_token: Series[str]
    category: Series[str] = pa.Field(isin=AGENT_CATEGORIES)
    attribute: Series[str] = pa.Field(nullable=True)
    visibility: Series[float] = pa.Field(nullable=True, isin=(1.0, 2.0, 3.0, 4.0))
    """nuScenes level 1 (0-40 %) ... 4 (80-100 %)."""
    x_m: Series[float]
    y_m: Series[float]
    z_m: Series[float]
    """Of the box centre."""
    yaw_rad: Series[float] = pa.Field(in_range={"min_value": -3.1416, "max_value": 3.1416})
    length_m: Series[float] = pa.Field(gt=0)
    width_m: Series[float] = pa.Field(gt=0)
    height_m: Series[float] = pa.Field(gt=0)
    vx_mps: Series[float] = pa.Field(nullable=True)
    vy_mps: Series[float] = pa.Field(nullable=True)
    num_lidar_points: Series[float] = pa.Field(nullable=True, ge=0)


class EgoPaths(Table):
    """One row per step of the driven path around a keyframe: steps -4 ... -1 past, 1 ... 6 future, 0.5 s apart.

    Positions of the ego origin in the keyframe's ego frame; zero and not valid beyond the ends of the scene.
    """

    sample_token: Series[str]
    step: Series[int] = pa.Field(ge=-4, le=6)
    x_m: Series[float]
    y_m: Series[float]
    yaw_rad: Series[float]
    valid: Series[bool]


class AgentFutures(Table):
    """One row per agent and future step 1 ... 6 of a keyframe, in that keyframe's ego frame."""

    sample_token: Series[str]
    instance_token: Series[str]
    step: Series[int] = pa.Field(ge=1, le=6)
    x_m: Series[float]
    y_m: Series[float]
    yaw_rad: Series[float]
    valid: Series[bool]


class MapElements(Table):
    """One row per polyline in the perception range of a keyframe."""

    sample_token: Series[str]
    kind: Series[str] = pa.Field(isin=MAP_KINDS)
    points: Series[object]
    """20 x 2 numbers x, y (m), flat."""

    @pa.check("points")
    def _points_are_complete(cls, values: pd.Series) -> pd.Series:  # noqa: N805
        return values.map(lambda points: len(points) == 2 * NUM_POLYLINE_POINTS)


class GeographicOverlap(Table):
    """One row per held-out split and location: keyframes in places that were trained on."""

    split: Series[str] = pa.Field(isin=SPLITS[1:])
    location: Series[str]
    radius_m: Series[float] = pa.Field(gt=0)
    num_keyframes: Series[int] = pa.Field(ge=1)
    num_near: Series[int] = pa.Field(ge=0)
    """Within ``radius_m`` of a training keyframe."""


class AuditFindings(Table):
    """One row per kind of thing that is wrong or odd in a scene, or in the recordings as a whole."""

    severity: Series[str] = pa.Field(isin=SEVERITIES)
    check: Series[str] = pa.Field(str_length={"min_value": 1})
    scene_name: Series[str]
    """Empty where it concerns no scene alone."""
    table: Series[str]
    token: Series[str]
    """Of the first record; empty where there is none."""
    num: Series[int] = pa.Field(ge=1)
    message: Series[str] = pa.Field(str_length={"min_value": 1})


class VqaPairs(Table):
    """One row per question."""

    pair_id: Series[str] = pa.Field(unique=True, str_matches=r"^[0-9a-f]{16}$")
    """From all that the pair says (``batch.VqaPair.pair_id``): the same after another annotation."""
    sample_token: Series[str]
    category: Series[str] = pa.Field(isin=VQA_CATEGORIES)
    question: Series[str] = pa.Field(str_length={"min_value": 1})
    answer: Series[str] = pa.Field(str_length={"min_value": 1})
    objects: Series[object]
    """Instance tokens the pair speaks of; may be empty."""
    source: Series[str]
    """``rules``, ``drivelm``, ``llm:<model name>`` or ``human``."""
    check: Series[str] = pa.Field(isin=("passed", "failed", "unchecked"))
    reason: Series[str] = pa.Field(nullable=True)
    """Why a check failed, or what is flagged; null for nothing."""


class SceneEditRows(Table):
    """One row per scene edit of a keyframe."""

    sample_token: Series[str]
    kind: Series[str] = pa.Field(isin=("add", "delete"))
    instance_token: Series[str]
    """The deleted agent, or a made-up token of the added one."""
    category: Series[str] = pa.Field(isin=AGENT_CATEGORIES)
    x_m: Series[float]
    y_m: Series[float]
    yaw_rad: Series[float]
    length_m: Series[float] = pa.Field(gt=0)
    width_m: Series[float] = pa.Field(gt=0)
    vx_mps: Series[float]
    vy_mps: Series[float]
    future: Series[object]
    """6 x 2 positions of the edited agent (m), flat."""
    future_yaw_rad: Series[object]
    """6 headings of the edited agent."""
    path: Series[object]
    """6 x 2 positions of the counterfactual ego path (m), flat."""
    path_valid: Series[object]
    """6 booleans."""
    speed_mps: Series[float] = pa.Field(ge=0)
    """Speed at t=0 from which a kinematic bicycle drives the path."""
    acceleration_mps2: Series[object]
    """30 accelerations, each held for 0.1 s, that drive it."""
    steering_rad: Series[object]
    """30 angles of the front wheel, each held for 0.1 s."""
    label: Series[str] = pa.Field(isin=("keep", "nudge", "slow", "stop", "resume"))
    """What the ego should do; ``resume`` (set off or speed up) follows a deletion only."""
    question: Series[str]
    answer: Series[str]
    matters: Series[bool]
    """Whether the counterfactual path differs from the driven one by more than 0.5 m within 3 s."""


class SliceMembers(Table):
    """One row per keyframe and long-tail slice it belongs to."""

    sample_token: Series[str]
    slice: Series[str]
    event_id: Series[str]
    """Consecutive keyframes of one event share it."""


class WorldTruth(Table):
    """One row per interval of a generated scene; read by annotation and by checks, never by slices or planners."""

    scene_token: Series[str]
    instance_token: Series[str] = pa.Field(nullable=True)
    kind: Series[str] = pa.Field(isin=("event", "light", "signal", "intention"))
    value: Series[str]
    begin_timestamp_us: Series[int]
    end_timestamp_us: Series[int]
