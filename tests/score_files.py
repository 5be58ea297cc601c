"""A file of four samples for ``dima score``, typed by hand: what each protocol says about it is known by eye.

LIDAR frame, 10 m/s straight ahead, six steps of 5 m. Row 0 is driven as planned. Row 1 is planned 3 m to the right,
through a car at the second step. Row 2 drives through a pedestrian at the third step, as planned. Row 3 is planned
4 m to the right through one car at the fourth step, the last one known, and through another at the sixth.
"""

from pathlib import Path

import numpy as np

LIDAR_AHEAD_M = 0.943713
NUM_ROWS, NUM_STEPS, NUM_AGENTS = 4, 6, 2
ASIDE_M = (0.0, 3.0, 0.0, 4.0)


def hand_arrays() -> dict[str, np.ndarray]:
    """All arrays of the file, in the LIDAR frame."""
    gt = np.zeros((NUM_ROWS, NUM_STEPS, 2))
    gt[..., 1] = 5.0 * np.arange(1, NUM_STEPS + 1)
    pred = gt.copy()
    pred[..., 0] = np.array(ASIDE_M)[:, None]
    boxes = np.zeros((NUM_ROWS, NUM_STEPS, NUM_AGENTS, 5))
    box_mask = np.zeros(boxes.shape[:3], bool)
    kind = np.full((NUM_ROWS, NUM_AGENTS), 2)
    for row, agent, what, box in (
        (1, 0, 0, (3.0, 10.5, np.pi / 2, 4.5, 2.0)),
        (2, 0, 1, (0.0, 15.5, np.pi / 2, 0.7, 0.7)),
        (3, 0, 0, (4.0, 20.5, np.pi / 2, 4.5, 2.0)),
        (3, 1, 0, (4.0, 30.5, np.pi / 2, 4.5, 2.0)),
    ):
        boxes[row, :, agent], box_mask[row, :, agent], kind[row, agent] = box, True, what
    fut_mask = np.ones((NUM_ROWS, NUM_STEPS), bool)
    fut_mask[3, 4:] = False
    return {"pred": pred, "gt": gt, "fut_mask": fut_mask, "boxes": boxes, "box_mask": box_mask, "kind": kind}


def in_ego_frame(arrays: dict[str, np.ndarray], lidar_ahead_m: float = LIDAR_AHEAD_M) -> dict[str, np.ndarray]:
    """The same samples with x forward and y left."""
    boxes = arrays["boxes"].copy()
    boxes[..., 0] = arrays["boxes"][..., 1] + lidar_ahead_m
    boxes[..., 1] = -arrays["boxes"][..., 0]
    boxes[..., 2] -= np.pi / 2
    paths = {name: np.stack([arrays[name][..., 1], -arrays[name][..., 0]], -1) for name in ("pred", "gt")}
    return {**arrays, **paths, "boxes": boxes}


def save(path: Path, arrays: dict[str, np.ndarray] | None = None, **changes: object) -> Path:
    """Write the hand-made file with some arrays changed, or left out where they are None."""
    changed = {**(arrays or hand_arrays()), **changes}
    np.savez(path, **{name: array for name, array in changed.items() if array is not None})
    return path


NUMBERS = {
    "vad": {
        "num_samples": 3,
        "l2_m": (1, 1, 1, 1, 1),
        "box_collision": (1 / 6, 1 / 12, 1 / 18, 11 / 108, 1 / 18),
        "gt_box_collision": (0, 1 / 12, 1 / 18, 5 / 108, 1 / 18),
    },
    "uniad": {
        "num_samples": 4,
        "l2_m": (7 / 4, 7 / 4, 3 / 4, 17 / 12, 17 / 12),
        "box_collision": (1 / 4, 1 / 4, 0, 1 / 6, 1 / 12),
        "gt_box_collision": (0, 0, 0, 0, 0),
    },
    "bev_planner": {
        "num_samples": 3,
        "l2_m": (1, 1, 1, 1, 1),
        "box_collision": (1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 18),
        "gt_box_collision": (0, 0, 0, 0, 0),
    },
    "standardised": {
        "num_samples": 4,
        "l2_m": (7 / 4, 7 / 4, 1, 3 / 2, 3 / 2),
        "box_collision": (1 / 4, 1 / 4, 0, 1 / 6, 1 / 12),
        "gt_box_collision": (0, 0, 0, 0, 1 / 24),
    },
}
"""By protocol and metric, at 1, 2, 3 s, avg and avg_all."""
KEYS = ("1", "2", "3", "avg", "avg_all")
EVERY_PROTOCOL = tuple(NUMBERS)
