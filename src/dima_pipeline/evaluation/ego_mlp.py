"""A small network that plans from the ego's own last 2 s, without eyes: no image, command, agent or map.

It stands beside every result because open-loop L2 can be matched without looking: people mostly go on as they drive
(AD-MLP, Zhai et al. 2023; the ego-MLP of BEV-Planner, Li et al., CVPR 2024). A planner that sees, and is not told its
own motion, has to be read against it.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, NUM_PAST_STEPS
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.config import EgoMlpConfig
from dima_pipeline.evaluation.plans import path_poses, plan_rows, split_samples

if TYPE_CHECKING:
    import torch

CAN_LIMITS = {"speed_mps": 80.0, "acceleration_mps2": 15.0, "yaw_rate_radps": 3.0}
"""What is read of the CAN bus, and up to where it is believed: a road car cannot exceed it, a faulty sensor can."""
MIN_SPREAD = 0.1
"""An input or output (m, rad, m/s ...) that varies less over the training split is not blown up to unit spread."""

Plan = Callable[[Float[np.ndarray, "M F"]], Float[np.ndarray, "M T 2"]]


def ego_mlp(tables: SceneTables, split: str, config: EgoMlpConfig, seed: int) -> pd.DataFrame:
    """Plans of ``ego_mlp`` for a split, after training on the training split alone.

    Raises ``ValueError`` where one of the two has no keyframe, or no training keyframe has a known future.
    """
    samples, training = split_samples(tables, split), split_samples(tables, "train")
    futures = path_poses(tables.ego_paths, training["sample_token"].tolist(), range(1, NUM_FUTURE_STEPS + 1))
    plan = fit_ego_mlp(ego_history(tables, training), futures[..., :2], config, seed)
    return plan_rows("ego_mlp", samples["sample_token"].tolist(), plan(ego_history(tables, samples)))


def ego_history(tables: SceneTables, samples: pd.DataFrame) -> Float[np.ndarray, "N F"]:
    """What the ego-MLP knows: x, y (m), yaw (rad) 2 ... 0.5 s ago, and speed, acceleration and yaw rate now.

    Unknown is 0; flags of what is known (1) follow.
    """
    poses = path_poses(tables.ego_paths, samples["sample_token"].tolist(), range(-NUM_PAST_STEPS, 0))
    motion = samples[list(CAN_LIMITS)].to_numpy(float)
    motion = np.where(np.abs(motion) <= list(CAN_LIMITS.values()), motion, np.nan)
    numbers = np.concatenate([poses.reshape(len(samples), -1), motion], -1)
    is_known = np.concatenate([np.isfinite(poses[..., 0]), np.isfinite(motion)], -1)
    return np.concatenate([np.nan_to_num(numbers), is_known.astype(float)], -1)


def fit_ego_mlp(
    history: Float[np.ndarray, "N F"], path: Float[np.ndarray, "N T 2"], config: EgoMlpConfig, seed: int
) -> Plan:
    """Train on histories and driven paths (m; NaN where unknown): the function from histories to planned paths.

    The network answers with the offset of each step; the loss is L1 on the positions that are known. The same seed
    gives the same plans. Raises ``ValueError`` where no future is known.
    """
    import torch

    has_future = np.isfinite(path).all(-1).any(-1)
    if not has_future.any():
        raise ValueError("no keyframe of split 'train' has a known future, and ego_mlp learns from these: add scenes")
    history, path = history[has_future], path[has_future]
    mean, spread = _mean_and_spread(history)
    offset_mean, offset_spread = _mean_and_spread(np.diff(path, axis=1, prepend=0.0).reshape(-1, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            *(torch.nn.Linear(history.shape[1], config.hidden_dim), torch.nn.ReLU()),
            *(torch.nn.Linear(config.hidden_dim, config.hidden_dim), torch.nn.ReLU()),
            torch.nn.Linear(config.hidden_dim, NUM_FUTURE_STEPS * 2),
        )

    def positions(history: np.ndarray) -> torch.Tensor:
        answer = network(torch.tensor((history - mean) / spread, dtype=torch.float32))
        offsets = answer.unflatten(-1, (NUM_FUTURE_STEPS, 2)) * torch.tensor(offset_spread, dtype=torch.float32)
        return (offsets + torch.tensor(offset_mean, dtype=torch.float32)).cumsum(1)

    def plan(history: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return positions(history).double().numpy()

    _optimise(network.parameters(), lambda rows: _l1(positions(history[rows]), path[rows]), len(path), config, seed)
    return plan


def _mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each column of (N, F), over what is known of it."""
    return np.nanmean(values, 0), np.maximum(np.nanstd(values, 0), MIN_SPREAD)


def _l1(planned: "torch.Tensor", driven: np.ndarray) -> "torch.Tensor":
    """Mean distance by axis (m) over the positions that are known."""
    import torch

    known = torch.tensor(np.isfinite(driven))
    error = (planned - torch.tensor(np.nan_to_num(driven), dtype=torch.float32)).abs()
    return (error * known).sum() / known.sum().clamp(min=1)


def _optimise(
    parameters: "Iterator[torch.nn.Parameter]",
    loss_of: "Callable[[np.ndarray], torch.Tensor]",
    num_samples: int,
    config: EgoMlpConfig,
    seed: int,
) -> None:
    """AdamW on seeded draws of ``batch_size`` rows."""
    import torch

    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.num_steps)
    for _ in range(config.num_steps):
        optimiser.zero_grad()
        loss_of(rng.integers(num_samples, size=config.batch_size)).backward()
        optimiser.step()
        schedule.step()
