"""Checks the values in the records of one scene before they are reckoned with: poses, sizes, attributes.

Their types are known to be right; what is looked at here is what could not be, such as NaN or a quaternion of length 2.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets._nuscenes_check import Records, Row, Table, find_vectors
from dima_pipeline.datasets._nuscenes_findings import Findings, shown

MAX_UNIT_ERROR = 1e-3
"""Quaternions that are so far from unit length are damaged; nearer ones are rounded, and made unit."""


def check_records(records: Records, findings: Findings) -> None:
    """Poses, calibrations, boxes and image sizes of all records of a scene."""
    folder = records.directory
    check_poses(records.ego_poses.values(), folder / "ego_pose.json", findings)
    images = [row for rows in records.sensor_rows.values() for channel, row in rows.items() if channel in CAMERAS]
    _check_image_sizes(images, folder / "sample_data.json", findings)
    _check_calibrations(records.calibrations, images, folder / "calibrated_sensor.json", findings)
    boxes = [row for rows in records.annotations.values() for row in rows]
    path = folder / "sample_annotation.json"
    check_poses(boxes, path, findings)
    _check_boxes(boxes, records.attributes.keys(), path, findings)


def check_poses(rows: Iterable[Row], path: Path, findings: Findings) -> None:
    """``translation`` and ``rotation`` of rows are a place and a rotation."""
    rows = list(rows)
    find_vectors(rows, "translation", 3, path, findings)
    norms = np.linalg.norm(find_vectors(rows, "rotation", 4, path, findings), axis=1)
    turned = [row for row, norm in zip(rows, norms, strict=True) if abs(norm - 1) > MAX_UNIT_ERROR]
    if turned:
        token, rotation = turned[0]["token"], turned[0]["rotation"]
        message = (
            f"{path}: rotation {shown(rotation)} of record {shown(token)} is no unit quaternion: its length is "
            f"{np.linalg.norm(rotation):.6g}"
        )
        findings.add("not_a_rotation", path, message, token=token, num=len(turned))


def _check_calibrations(calibrations: Table, images: Sequence[Row], path: Path, findings: Findings) -> None:
    check_poses(calibrations.values(), path, findings)
    cameras = {row["calibrated_sensor_token"] for row in images}
    find_vectors([calibrations[token] for token in sorted(cameras)], "camera_intrinsic", 9, path, findings)


def _check_boxes(rows: Sequence[Row], attributes: Iterable[str], path: Path, findings: Findings) -> None:
    sizes = find_vectors(rows, "size", 3, path, findings)
    flat = [row for row, size in zip(rows, sizes, strict=True) if (size <= 0).any()]
    if flat:
        token, size = flat[0]["token"], flat[0]["size"]
        message = f"{path}: size {shown(size)} of record {shown(token)} is not positive"
        findings.add("box_size", path, message, token=token, num=len(flat))
    known = {"", *attributes}
    lost = [row for row in rows if (row.get("attribute_tokens") or [""])[0] not in known]
    if lost:
        token, attribute = lost[0]["token"], lost[0]["attribute_tokens"][0]
        message = (
            f"{path}: attribute token '{shown(attribute)}' of record {shown(token)} is not in attribute.json: tables "
            "of other versions?"
        )
        findings.add("dangling_token", path, message, token=token, num=len(lost))


def _check_image_sizes(rows: Sequence[Row], path: Path, findings: Findings) -> None:
    empty = [row for row in rows if not all(size and size >= 1 for size in (row["width"], row["height"]))]
    if empty:
        token, name = empty[0]["token"], empty[0]["filename"]
        message = f"{path}: {shown(name)} has no width and height"
        findings.add("image_size", path, message, token=token, num=len(empty))
