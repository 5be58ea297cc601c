"""Small random scenes for tests: a six-camera rig with true projections, ground truth and edits that hang together."""

import numpy as np

from dima_pipeline.contracts.batch import SceneBatch, SceneEdits, SceneTargets
from dima_pipeline.contracts.frames import AGENT_CATEGORIES, CAMERAS, MAP_KINDS, NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.geometry import image_from_ego, invert_rigid, rigid

CAMERA_YAWS_DEG = (0.0, -55.0, 55.0, 180.0, 110.0, -110.0)
"""In the order of ``frames.CAMERAS``."""


def make_projections(image_size: tuple[int, int] = (96, 160)) -> np.ndarray:
    """``image_from_ego`` (C, 3, 4) of a rig as on nuScenes: 70 degrees each (110 to the back), 1.5 m up."""
    height, width = image_size
    matrices = []
    for yaw_deg in CAMERA_YAWS_DEG:
        yaw = np.radians(yaw_deg)
        forward, left, up = (np.cos(yaw), np.sin(yaw), 0.0), (-np.sin(yaw), np.cos(yaw), 0.0), (0.0, 0.0, 1.0)
        axes = np.stack([-np.array(left), -np.array(up), np.array(forward)], -1)  # camera x right, y down, z forward
        position = np.array([0.9 + 0.8 * forward[0], 0.5 * forward[1], 1.5])
        focal = width / 2 / np.tan(np.radians(110 if yaw_deg == 180.0 else 70) / 2)
        intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        matrices.append(image_from_ego(intrinsics, invert_rigid(rigid(axes, position))))
    return np.stack(matrices)


def make_scene_batch(
    rng: np.random.Generator, batch_size: int = 2, image_size: tuple[int, int] = (96, 160)
) -> SceneBatch:
    """Noise images of a valid rig that drove 1-4 m since the previous keyframe."""
    moved = np.stack([rng.uniform(1, 4, batch_size), rng.normal(0, 0.2, batch_size), rng.normal(0, 0.05, batch_size)])
    return SceneBatch(
        images=rng.integers(0, 256, (batch_size, len(CAMERAS), *image_size, 3), dtype=np.uint8),
        image_from_ego=np.repeat(make_projections(image_size)[None], batch_size, 0).astype(np.float32),
        camera_valid=np.ones((batch_size, len(CAMERAS)), bool),
        command=rng.integers(0, 3, batch_size),
        prev_from_ego=moved.T.astype(np.float32),
    )


def make_targets(
    rng: np.random.Generator, batch_size: int = 2, num_agents: int = 5, num_map: int = 4, num_points: int = 20
) -> SceneTargets:
    """An ego on a gentle curve, agents at constant velocity, straight map elements; the last of each is padding where
    there is more than one."""
    times = STEP_S * np.arange(1, NUM_FUTURE_STEPS + 1)
    speed, yaw_rate = rng.uniform(2, 8, (batch_size, 1)), rng.normal(0, 0.1, (batch_size, 1))
    ego = np.stack([speed * times, speed * yaw_rate * times**2 / 2, yaw_rate * times], -1)
    box = np.zeros((batch_size, num_agents, 7))
    box[..., 0] = rng.uniform(-28, 28, box.shape[:2])
    box[..., 1] = rng.uniform(-13, 13, box.shape[:2])
    box[..., 2] = rng.uniform(-np.pi, np.pi, box.shape[:2])
    box[..., 3:5] = (4.5, 1.9)
    box[..., 5:] = rng.normal(0, 2, (*box.shape[:2], 2))
    agent_valid = _pad_last(batch_size, num_agents)
    future = box[..., None, :2] + box[..., None, 5:] * times[:, None]
    map_valid = _pad_last(batch_size, num_map)
    starts = rng.uniform((-25, -12), (25, 12), (batch_size, num_map, 1, 2))
    along = rng.normal(0, 10, (batch_size, num_map, 1, 2))
    points = starts + along * np.linspace(0, 1, num_points)[:, None]
    return SceneTargets(
        ego_future=ego.astype(np.float32),
        ego_future_valid=np.ones((batch_size, NUM_FUTURE_STEPS), bool),
        agent_box=np.where(agent_valid[..., None], box, 0).astype(np.float32),
        agent_category=rng.integers(0, len(AGENT_CATEGORIES), (batch_size, num_agents)) * agent_valid,
        agent_valid=agent_valid,
        agent_future=np.where(agent_valid[..., None, None], future, 0).astype(np.float32),
        agent_future_valid=np.repeat(agent_valid[..., None], NUM_FUTURE_STEPS, -1),
        map_points=np.where(map_valid[..., None, None], points, 0).astype(np.float32),
        map_kind=rng.integers(0, len(MAP_KINDS), (batch_size, num_map)) * map_valid,
        map_valid=map_valid,
    )


def make_edits(rng: np.random.Generator, batch_size: int = 2) -> SceneEdits:
    """Kinds 1 (add), 2 (delete), 0 (none) in turn: a standing car ahead, and a path that brakes."""
    kind = np.array([1, 2, 0])[np.arange(batch_size) % 3]
    edited = (kind > 0)[:, None]
    box = np.zeros((batch_size, 7))
    box[:, 0], box[:, 1], box[:, 3:5] = rng.uniform(6, 20, batch_size), rng.normal(0, 1, batch_size), (4.5, 1.9)
    future = np.repeat(box[:, None, :2], NUM_FUTURE_STEPS, 1)
    path = np.stack([np.linspace(1, 5, NUM_FUTURE_STEPS), np.zeros(NUM_FUTURE_STEPS)], -1)
    return SceneEdits(
        kind=kind,
        box=(box * edited).astype(np.float32),
        category=np.zeros(batch_size, int),
        future=(future * edited[..., None]).astype(np.float32),
        path=(path * edited[..., None]).astype(np.float32),
        path_valid=np.repeat(edited, NUM_FUTURE_STEPS, 1),
    )


def _pad_last(batch_size: int, num: int) -> np.ndarray:
    """All valid but the last, so that padding is exercised."""
    valid = np.ones((batch_size, num), bool)
    if num > 1:
        valid[:, -1] = False
    return valid
