"""What is wrong or odd in the tables and camera files of a scene, before a picture is decoded.

Errors stop a run, warnings are kept with the data: rows that no car could have driven or carried. Rows that fail a
check alike are one finding, which names the first of them and their number.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from dima_pipeline.contracts.findings import BrokenRecording, Finding, Severity
from dima_pipeline.contracts.frames import CAMERAS, STEP_S
from dima_pipeline.contracts.tables import AuditFindings
from dima_pipeline.datasets import Dataset, SceneTables
from dima_pipeline.datasets._files import MISSING, check_image
from dima_pipeline.datasets._nuscenes_values import MAX_UNIT_ERROR

MAX_GAP_S: Final = 1.5 * STEP_S
MAX_SPACING_ERROR: Final = 0.2
"""Median spacing of keyframes may differ from ``STEP_S`` by this share."""
MAX_SPEED_MPS: Final = 70.0
"""250 km/h, of the ego and of agents."""
MAX_ACCELERATION_MPS2: Final = 15.0
"""Of the driven path: tyres give 10."""
MAX_CAN_ACCELERATION_MPS2: Final = 50.0
"""Of one reading, which may be a shock; crash sensors see more."""
CAN_SPEED_SLACK: Final = (2.0, 0.2)
"""The CAN bus may differ from the driven path by so many m/s plus this share: it is a moment, the path a second."""
POSITION: Final = ["ego_x_m", "ego_y_m", "ego_z_m"]
QUATERNION: Final = ["ego_qw", "ego_qx", "ego_qy", "ego_qz"]
MISSING_IMAGES: Final = {
    "error": "complete the download, or set missing_images to 'drop' (black, marked not valid) or 'render' (drawn from "
    "the log)",
    "drop": "black, and marked not valid",
    "render": "drawn from the log",
}
"""What comes of files that are not there, by ``IngestionConfig.missing_images``."""
MAX_BOX_DISTANCE_M: Final = 200.0
"""Further than any LIDAR shows a shape."""
MIN_SIDE_M: Final = 0.05
MAX_SIDES_M: Final = {
    "car": (10.0, 3.5, 4.0),  # a stretched limousine; a van with a roof rack
    "truck": (25.0, 4.5, 6.0),  # a lorry with its trailer in one box
    "bus": (30.0, 4.5, 6.0),  # with two joints; a double-decker
    "trailer": (30.0, 4.5, 6.0),
    "construction_vehicle": (30.0, 10.0, 20.0),  # a crane with its arm
    "pedestrian": (3.0, 3.0, 3.0),  # with a pram, arms and umbrella out
    "motorcycle": (4.0, 2.5, 3.0),
    "bicycle": (4.0, 2.5, 3.0),
    "traffic_cone": (2.0, 2.0, 2.5),
    "barrier": (30.0, 30.0, 5.0),  # which of its sides is the long one is not agreed on
}
"""Largest length, width and height of a box that is not absurd, by category."""
LARGEST_M: Final = (30.0, 30.0, 30.0)


def audit_scene(
    dataset: Dataset,
    name: str,
    tables: SceneTables,
    *,
    missing_images: str,
    unmapped: Mapping[str, int] | None = None,
) -> list[Finding]:
    """Everything odd in scene ``name`` of a data set, whose tables are ``tables``.

    ``missing_images`` is that of ``IngestionConfig``: a camera file that is not there is an error, or else a warning.
    ``unmapped`` counts the boxes that were left out of ``agents``, by category. Raises what ``camera_files`` raises.
    """
    ego = list(_ego(name, tables.samples))
    return [
        *_camera_files(dataset, name, tables.samples, missing_images),
        *ego,
        # What is no pose or time has no speed.
        *([] if ego else _motion(name, tables.samples)),
        *_can_bus(name, tables.samples, is_path_known=not ego),
        *_boxes(name, tables, unmapped or {}),
        *_map_elements(name, tables),
    ]


@dataclass(frozen=True)
class _Rows:
    """Rows of a table of one scene."""

    scene_name: str
    table: str
    tokens: pd.Series

    def odd(
        self, check: str, is_odd: Bool[np.ndarray, "R"], say: Callable[[int], str], severity: Severity = "warning"
    ) -> Iterator[Finding]:
        """One finding for all rows where ``is_odd``, if any; ``say`` describes the row of a number."""
        rows = np.flatnonzero(is_odd)
        if len(rows):
            more = f" ({len(rows) - 1:,} more like it)" if len(rows) > 1 else ""
            token = str(self.tokens.iloc[rows[0]])
            yield self.finding(check, say(int(rows[0])) + more, severity, token=token, num=len(rows))

    def finding(
        self, check: str, message: str, severity: Severity = "warning", *, token: str = "", num: int = 1
    ) -> Finding:
        """With the scene's name before ``message``."""
        return Finding(
            severity=severity,
            check=check,
            message=f"{self.scene_name}: {message}",
            scene_name=self.scene_name,
            table=self.table,
            token=token,
            num=num,
        )


def _camera_files(dataset: Dataset, name: str, samples: pd.DataFrame, missing_images: str) -> Iterator[Finding]:
    paths, images = dataset.camera_files(name), _images(samples)
    sizes = images[["width", "height"]].itertuples(index=False, name=None)
    reason = np.array([check_image(path, size) or "" for path, size in zip(paths, sizes, strict=True)], object)
    is_missing = reason == MISSING
    # For what was lost in recording there may be a blank file, which nobody reads.
    is_there = [source == "missing" and path.is_file() for path, source in zip(paths, images["source"], strict=True)]
    is_lost = np.array(is_there, bool)
    is_unusable = (reason != "") & ~is_missing & ~is_lost

    def rows(is_odd: Bool[np.ndarray, "R"]) -> _Rows:
        return _Rows(name, str(images["file"].iloc[is_odd.argmax()]), images["sample_token"])

    if is_missing.any():
        first, num = int(is_missing.argmax()), int(is_missing.sum())
        message = f"{paths[first]} is missing, and with it {num:,} of {len(paths):,} camera images: "
        yield rows(is_missing).finding(
            "missing_image",
            message + MISSING_IMAGES[missing_images],
            "error" if missing_images == "error" else "warning",
            token=str(images["sample_token"].iloc[first]),
            num=num,
        )
    yield from rows(is_unusable).odd("unusable_image", is_unusable, lambda row: f"{paths[row]} {reason[row]}", "error")
    yield from rows(is_lost).odd("lost_image", is_lost, lambda row: f"{paths[row]} was lost in recording")


def _images(samples: pd.DataFrame) -> pd.DataFrame:
    """A row per image: token, file, source, width and height, keyframe by keyframe in the order of ``CAMERAS``."""
    names = [camera.lower() for camera in CAMERAS]
    fields = {
        field: samples[[f"{name}_{field}" for name in names]].to_numpy().ravel()
        for field in ("file", "source", "width", "height")
    }
    return pd.DataFrame({"sample_token": samples["sample_token"].repeat(len(names)).to_numpy(), **fields})


def _ego(name: str, samples: pd.DataFrame) -> Iterator[Finding]:
    """Errors of poses and times."""
    rows = _Rows(name, "samples", samples["sample_token"])
    pose = samples[[*POSITION, *QUATERNION]].to_numpy(float)
    is_finite = np.isfinite(pose).all(1)
    norm = np.linalg.norm(pose[:, len(POSITION) :], axis=1)
    yield from rows.odd(
        "pose_not_finite",
        ~is_finite,
        lambda row: f"the ego's pose at keyframe {rows.tokens.iloc[row]} is {pose[row]}",
        "error",
    )
    yield from rows.odd(
        "quaternion_not_unit",
        is_finite & (np.abs(norm - 1) > MAX_UNIT_ERROR),
        lambda row: f"the ego's quaternion at keyframe {rows.tokens.iloc[row]} has length {norm[row]:.3f}, expected 1",
        "error",
    )
    yield from rows.odd(
        "timestamp_not_rising",
        np.diff(samples["timestamp_us"], prepend=-1) <= 0,
        lambda row: f"keyframe {rows.tokens.iloc[row]} is not later than the one before it",
        "error",
    )


@dataclass(frozen=True)
class _Path:
    """The driven path; steps lead from one keyframe to the next."""

    gaps_s: Float[np.ndarray, "N-1"]
    lengths_m: Float[np.ndarray, "N-1"]
    accelerations_mps2: Float[np.ndarray, "N-1"]
    """Change of velocity since the step before, 0 at first."""

    @classmethod
    def of(cls, samples: pd.DataFrame) -> "_Path":
        gaps_s = np.diff(samples["timestamp_us"].to_numpy(np.int64)) / 1e6
        moves = np.diff(samples[POSITION].to_numpy(float), axis=0)
        changes = np.diff(moves / gaps_s[:, None], axis=0, prepend=(moves / gaps_s[:, None])[:1])
        between_s = (gaps_s + np.append(gaps_s[:1], gaps_s[:-1])) / 2
        return cls(gaps_s, np.linalg.norm(moves, axis=1), np.linalg.norm(changes, axis=1) / between_s)

    def is_jump(self) -> Bool[np.ndarray, "N-1"]:
        """Steps that no car drives."""
        return (self.lengths_m > MAX_SPEED_MPS * self.gaps_s) | (self.accelerations_mps2 > MAX_ACCELERATION_MPS2)

    def speeds_mps(self) -> Float[np.ndarray, "N"]:
        """At each keyframe the mean over the steps beside it; NaN beside jumps."""
        lengths_m = np.where(self.is_jump(), np.nan, self.lengths_m)
        with np.errstate(invalid="ignore"):  # of a single keyframe, which has no step
            return _beside(lengths_m) / _beside(self.gaps_s)


def _beside(steps: Float[np.ndarray, "N-1"]) -> Float[np.ndarray, "N"]:
    """Sum of the steps before and after each keyframe."""
    return np.append(steps, 0.0) + np.append(0.0, steps)


def _motion(name: str, samples: pd.DataFrame) -> Iterator[Finding]:
    path = _Path.of(samples)
    rows = _Rows(name, "samples", samples["sample_token"].iloc[1:])
    yield from rows.odd(
        "keyframe_gap",
        path.gaps_s > MAX_GAP_S,
        lambda row: f"keyframe {rows.tokens.iloc[row]} comes {path.gaps_s[row]:.2f} s after the one before it",
    )
    spacing_s = np.median(path.gaps_s) if len(path.gaps_s) else STEP_S
    if abs(spacing_s - STEP_S) > MAX_SPACING_ERROR * STEP_S:
        message = f"keyframes are {spacing_s:.2f} s apart (median), expected {STEP_S}: futures take the nearest ones"
        yield rows.finding("keyframe_spacing", message)
    yield from rows.odd(
        "ego_jump",
        path.is_jump(),
        lambda row: (
            f"the ego moves {path.lengths_m[row]:.1f} m in {path.gaps_s[row]:.2f} s up to keyframe "
            f"{rows.tokens.iloc[row]}, with {path.accelerations_mps2[row]:.0f} m/s2: is its pose lost there?"
        ),
    )


def _can_bus(name: str, samples: pd.DataFrame, *, is_path_known: bool) -> Iterator[Finding]:
    rows = _Rows(name, "samples", samples["sample_token"])
    speeds, accelerations = (np.abs(samples[column].to_numpy(float)) for column in ("speed_mps", "acceleration_mps2"))
    if np.isnan(speeds).all():
        yield rows.finding("no_can_bus", "there are no speeds of a CAN bus: ego motion comes from poses alone")
    if is_path_known:
        driven = _Path.of(samples).speeds_mps()
        yield from rows.odd(
            "can_speed",
            np.abs(speeds - driven) > CAN_SPEED_SLACK[0] + CAN_SPEED_SLACK[1] * driven,
            lambda row: (
                f"the CAN bus says {speeds[row]:.1f} m/s at keyframe {rows.tokens.iloc[row]}, the driven path "
                f"{driven[row]:.1f}"
            ),
        )
    yield from rows.odd(
        "can_acceleration",
        accelerations > MAX_CAN_ACCELERATION_MPS2,
        lambda row: f"the CAN bus says {accelerations[row]:.0f} m/s2 at keyframe {rows.tokens.iloc[row]}",
    )


def _boxes(name: str, tables: SceneTables, unmapped: Mapping[str, int]) -> Iterator[Finding]:
    agents = tables.agents
    rows = _Rows(name, "agents", agents["instance_token"])
    sides = agents[["length_m", "width_m", "height_m"]].to_numpy(float)
    limits = np.array([MAX_SIDES_M.get(category, LARGEST_M) for category in agents["category"]]).reshape(-1, 3)
    distances_m, speeds_mps = (
        np.hypot(*agents[columns].to_numpy(float).T) for columns in (["x_m", "y_m"], ["vx_mps", "vy_mps"])
    )

    def box(row: int) -> str:
        agent = agents.iloc[row]
        return f"{agent['category']} {agent['instance_token']} at keyframe {agent['sample_token']}"

    yield from rows.odd(
        "box_size",
        ~((sides >= MIN_SIDE_M) & (sides <= limits)).all(1),
        lambda row: "{} is {:.2f} x {:.2f} x {:.2f} m (length, width, height)".format(box(row), *sides[row]),
    )
    yield from rows.odd(
        "box_far_away",
        distances_m > MAX_BOX_DISTANCE_M,
        lambda row: f"{box(row)} is {distances_m[row]:.0f} m away",
    )
    yield from rows.odd(
        "agent_speed",
        speeds_mps > MAX_SPEED_MPS,
        lambda row: f"{box(row)} moves at {speeds_mps[row]:.0f} m/s",
    )
    if agents.empty:
        yield rows.finding("no_agents", "no keyframe has an agent", num=len(tables.samples))
    elif not (agents["num_lidar_points"].to_numpy(float) > 0).any():
        message = "no box has a LIDAR point (zero or unknown): what asks for points leaves out all boxes"
        yield rows.finding("no_lidar_points", message, num=len(agents))
    if unmapped:
        shown = ", ".join(f"{category} ({num:,})" for category, num in sorted(unmapped.items()))
        message = f"boxes of categories that are no agents are left out: {shown}"
        yield rows.finding("unmapped_category", message, num=sum(unmapped.values()))


def _map_elements(name: str, tables: SceneTables) -> Iterator[Finding]:
    if tables.map_elements.empty:
        location = tables.scenes["location"].iloc[0]
        message = f"no keyframe has a map element: is there a map of {location}?"
        yield _Rows(name, "map_elements", tables.samples["sample_token"]).finding(
            "no_map_elements", message, num=len(tables.samples)
        )


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """As ``contracts.tables.AuditFindings``: errors first, then by check, scenes in the order they came."""
    columns = list(AuditFindings.to_schema().columns)
    table = pd.DataFrame([asdict(finding) for finding in findings], columns=columns)
    # "error" comes before "warning" in the alphabet too.
    return AuditFindings.validate(table.sort_values(["severity", "check"], kind="stable", ignore_index=True))


def raise_errors(table: pd.DataFrame) -> None:
    """Raise ``BrokenRecording`` where a table of ``AuditFindings`` holds errors."""
    if (table["severity"] == "error").any():
        rows = table.to_dict("records")
        raise BrokenRecording(Finding(**{str(column): value for column, value in row.items()}) for row in rows)


def audit_in_words(table: pd.DataFrame) -> str:
    """A line for errors and one for warnings of a table of ``AuditFindings``: each check, its records and scenes."""
    lines = []
    for severity, found in table.groupby("severity"):
        scenes = found.groupby("check")["scene_name"].nunique()
        nums = found.groupby("check")["num"].sum()
        shown = [f"{check} ({nums[check]:,} in {_count(scenes[check], 'scene')})" for check in nums.index]
        lines.append(f"{_count(len(nums), f'kind of {severity}', f'kinds of {severity}s')}: {', '.join(shown)}")
    return "\n".join(lines) or "nothing wrong or odd"


def _count(num: int, one: str, many: str = "") -> str:
    return f"{num:,} {one if num == 1 else many or one + 's'}"
