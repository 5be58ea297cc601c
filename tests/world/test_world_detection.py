"""The devkit's own detection evaluation, given the truth as if a detector had found it."""

import json
from pathlib import Path
from typing import Any

import pytest
from nuscenes import NuScenes
from nuscenes.eval.common.loaders import load_gt
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.eval.detection.evaluate import DetectionEval


def evaluate(nusc: NuScenes, folder: Path, shifted_m: float = 0.0) -> dict[str, Any]:
    """Metrics of detections that are the annotated boxes of val, ``shifted_m`` to the east."""
    truth = load_gt(nusc, "val", DetectionBox)
    results = {}
    for token in truth.sample_tokens:
        # What no sensor has seen is no truth for the devkit.
        boxes = [box.serialize() for box in truth[token] if box.num_pts > 0]
        for box in boxes:
            box["translation"] = [box["translation"][0] + shifted_m, *box["translation"][1:]]
        results[token] = [{**box, "detection_score": 1.0} for box in boxes]
    file = folder / "results.json"
    meta = {f"use_{name}": name == "camera" for name in ("camera", "lidar", "radar", "map", "external")}
    file.write_text(json.dumps({"meta": meta, "results": results}, default=list))
    run = DetectionEval(nusc, config_factory("detection_cvpr_2019"), str(file), "val", str(folder), verbose=False)
    return run.evaluate()[0].serialize() | {"truth": truth}


@pytest.fixture(scope="module")
def nusc(world_root: Path) -> NuScenes:
    return NuScenes("v1.0-synthetic-trainval", str(world_root), verbose=False)


def test_the_truth_detected_is_found_whole_in_every_class_that_occurs(nusc: NuScenes, tmp_path: Path) -> None:
    metrics = evaluate(nusc, tmp_path)
    precision = metrics["mean_dist_aps"]
    missing = {name for name, value in precision.items() if value < 1.0}
    ranges = config_factory("detection_cvpr_2019").class_range
    seen = {
        box.detection_name
        for token in metrics["truth"].sample_tokens
        for box in metrics["truth"][token]
        if box.num_pts > 0 and sum(v**2 for v in box.ego_translation[:2]) ** 0.5 < ranges[box.detection_name]
    }
    assert not missing & seen and {"car", "pedestrian", "truck"} <= seen
    errors = metrics["label_tp_errors"]["car"]
    assert all(errors[name] < 1e-6 for name in ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"))


def test_detections_a_metre_off_lose_the_strict_half(nusc: NuScenes, tmp_path: Path) -> None:
    metrics = evaluate(nusc, tmp_path, shifted_m=1.2)
    by_distance = metrics["label_aps"]["car"]
    assert by_distance[0.5] < 0.2 and by_distance[2.0] > 0.95
