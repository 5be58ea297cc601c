"""How far two windows lie apart, and how far they may: thresholds from random splits of their scenes.

Keyframes of a scene are so alike that a p-value over keyframes finds drift everywhere. So the whole scenes of both
windows are dealt anew many times (a permutation test of clusters): distances that such windows reach are no drift. As
there are many features, the farthest of them all decides how far each may lie (Westfall and Young's max-T).
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.monitoring.config import DriftConfig

STATISTIC = "energy_distance"
METHOD = "ed"
"""Its name in Evidently. Of Evidently's distances it is the one that stays finite and smooth where one window lacks a
rare thing: its Wasserstein distance is divided by the deviation of the reference alone, which may be 0."""


def energy_distances(
    values: Float[np.ndarray, "N"], scene: Int[np.ndarray, "N"], is_current: Bool[np.ndarray, "B S"]
) -> Float[np.ndarray, "B"]:
    """The energy distance of current to reference values for each of B ways to deal S scenes to the windows.

    Values that are not finite are left out. The same number as ``scipy.stats.energy_distance``, for all ways at once.
    """
    known = np.isfinite(values)
    order = np.argsort(values[known], kind="stable")
    ordered = values[known][order]
    current = is_current[:, scene[known][order]]
    gap = _shares_below(current) - _shares_below(~current)
    return np.sqrt(2 * (gap[:, :-1] ** 2 @ np.diff(ordered)))


def _shares_below(inside: Bool[np.ndarray, "B N"]) -> Float[np.ndarray, "B N"]:
    counts = np.cumsum(inside, axis=1)
    return counts / np.maximum(counts[:, -1:], 1)


def calibrate(
    values: Float[np.ndarray, "N F"],
    scene: Int[np.ndarray, "N"],
    is_current: Bool[np.ndarray, "S"],
    config: DriftConfig,
) -> tuple[Float[np.ndarray, "F"], Float[np.ndarray, "F"]]:
    """Distance and threshold of each feature; it drifted where the distance is larger.

    ``scene``: index of each keyframe's scene; ``is_current``: the window of each scene.
    """
    rng = np.random.default_rng(config.seed)
    dealt = np.stack([is_current, *(rng.permutation(is_current) for _ in range(config.num_splits))])
    distance = np.stack([energy_distances(column, scene, dealt) for column in values.T], 1)
    # Each feature's own threshold, then one factor for all because there are many of them.
    own = np.quantile(distance, 1 - config.false_alarm_rate, axis=0)
    ratio = distance / np.where(own > 0, own, 1.0)
    factor = np.quantile(ratio[1:].max(1), 1 - config.false_alarm_rate, method="higher")
    floor = [_distance_of_shift(column, config.min_shift) for column in values.T]
    return distance[0], np.maximum(factor * own, floor)


def _distance_of_shift(values: np.ndarray, num_deviations: float) -> float:
    known = values[np.isfinite(values)]
    shifted = np.concatenate([known, known + num_deviations * known.std()])
    return float(energy_distances(shifted, np.repeat([0, 1], len(known)), np.array([[False, True]]))[0])
