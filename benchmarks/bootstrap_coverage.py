"""How often a nominal 95 % interval over scenes holds the truth: ours, and the plain percentile bootstrap beside it.

``python benchmarks/bootstrap_coverage.py [--worlds 10000]``, about two minutes on one core. Worlds are made up, so the
truth is known. Scenes have 10 to 40 keyframes; the spread of distances between scenes (log-normal, 0.5), between
keyframes (0.8) and between two planners is that of the demo's trained planner and its control.
"""

import argparse
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from dima_pipeline.pipelines.progress import Report, progress
from dima_pipeline.scoring.bootstrap import scene_interval

NUM_SCENES = (5, 8, 10, 20, 40, 150)
NUM_KEYFRAMES = (10, 40)
NUM_RESAMPLES = 1000
BATCH = 50
"""Worlds that share resamples: each is a column."""
CORRELATION = 0.1
"""Between 0/1 events of two keyframes of a scene."""
Values = tuple[np.ndarray, float]
"""Values (world, scene, keyframe) and their true mean."""


def distances(shape: tuple[int, ...], rng: np.random.Generator) -> Values:
    """Skewed, and alike within a scene."""
    spread = 0.5 * _of_scenes(shape, rng) + 0.8 * rng.standard_normal(shape)
    return np.exp(spread), float(np.exp((0.5**2 + 0.8**2) / 2))


def distance_differences(shape: tuple[int, ...], rng: np.random.Generator) -> Values:
    """Of two planners that find the same keyframes hard, one a tenth better."""
    shared = 0.5 * _of_scenes(shape, rng) + 0.5 * rng.standard_normal(shape)
    ours, other = (np.exp(shared + 0.2 * _of_scenes(shape, rng) + 0.5 * rng.standard_normal(shape)) for _ in range(2))
    return 0.9 * ours - other, float(-0.1 * np.exp((3 * 0.5**2 + 0.2**2) / 2))


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> Values:
    """As much spread between scenes as within them."""
    return _of_scenes(shape, rng) + rng.standard_normal(shape), 0.0


def collisions(rate: float) -> Callable[[tuple[int, ...], np.random.Generator], Values]:
    """0 or 1, clustered in scenes."""
    return lambda shape, rng: ((rng.random(shape) < _rates(rate, shape, rng)).astype(float), rate)


def collision_differences(shape: tuple[int, ...], rng: np.random.Generator) -> Values:
    """Of two planners that collide in the same scenes, at 3 % and 2 % of the keyframes."""
    rates = _rates(0.03, shape, rng)
    return (rng.random(shape) < rates).astype(float) - (rng.random(shape) < rates * 2 / 3), 0.01


def _of_scenes(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((*shape[:2], 1))


def _rates(rate: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    strength = 1 / CORRELATION - 1
    return rng.beta(rate * strength, (1 - rate) * strength, (*shape[:2], 1))


WORLDS: dict[str, Callable[[tuple[int, ...], np.random.Generator], Values]] = {
    "distances": distances,
    "differences of distances": distance_differences,
    "normal": normal,
    "5 % collisions": collisions(0.05),
    "2 % collisions": collisions(0.02),
    "differences of collisions": collision_differences,
}


def percentile_interval(sums: np.ndarray, counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The plain percentiles of the resampled means."""
    num_scenes = len(sums)
    shares = np.full(num_scenes, 1 / num_scenes)
    draws = np.random.default_rng(seed).multinomial(num_scenes, shares, NUM_RESAMPLES)
    low, high = np.percentile((draws @ sums) / (draws @ counts), [2.5, 97.5], axis=0)
    return low, high


def outcomes(low: np.ndarray, high: np.ndarray, truth: float) -> np.ndarray:
    """How many intervals there are, lie wholly above the truth, wholly below it."""
    return np.array([np.isfinite(low).sum(), (low > truth).sum(), (high < truth).sum()])


def batch(name: str, num_scenes: int, seed: int) -> np.ndarray:
    """Outcomes (method, 3) of ``BATCH`` worlds: ours, then the percentiles."""
    rng = np.random.default_rng([list(WORLDS).index(name), num_scenes, seed])
    num_keyframes = rng.integers(NUM_KEYFRAMES[0], NUM_KEYFRAMES[1] + 1, (BATCH, num_scenes))
    values, truth = WORLDS[name]((BATCH, num_scenes, NUM_KEYFRAMES[1]), rng)
    is_there = np.arange(NUM_KEYFRAMES[1]) < num_keyframes[..., None]
    sums, counts = (values * is_there).sum(-1).T, num_keyframes.T.astype(float)
    ours = scene_interval(sums, counts, np.divide, num_resamples=NUM_RESAMPLES, seed=seed)
    return np.array([outcomes(*ours, truth), outcomes(*percentile_interval(sums, counts, seed), truth)])


def simulate(num_worlds: int, report: Report) -> Table:
    """Coverage by kind of value and number of scenes; fewer worlds where they are large."""
    columns = ("values", "scenes", "worlds", "given %", "ours %", "missed %", "percentile %", "missed %")
    table = Table(*columns, title="Nominal 95 % intervals that hold the truth; missed: those that lie above/below it")
    batches = {num: max(int(num_worlds * np.clip(20 / num, 0.25, 1)) // BATCH, 1) for num in NUM_SCENES}
    done, total = 0, len(WORLDS) * sum(num * count for num, count in batches.items())
    for name in WORLDS:
        for num_scenes, num_batches in batches.items():
            found = np.zeros((2, 3))
            for seed in range(num_batches):
                found += batch(name, num_scenes, seed)
                done += num_scenes
                report(done, total)
            table.add_row(
                *_cells(name, num_scenes, num_batches * BATCH, found), end_section=num_scenes == NUM_SCENES[-1]
            )
    return table


def _cells(name: str, num_scenes: int, num_worlds: int, found: np.ndarray) -> list[str]:
    cells = [name, str(num_scenes), str(num_worlds), f"{100 * found[0, 0] / num_worlds:.0f}"]
    for given, above, below in found:
        shares = 100 * np.array([given - above - below, above, below]) / max(given, 1)
        cells += [f"{shares[0]:.1f}", f"{shares[1]:.1f}/{shares[2]:.1f}"]
    return cells


def main() -> None:
    """Parse the arguments, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--worlds", type=int, default=10_000, help="made up for a row; a half and a quarter where they are large"
    )
    with progress(f"scenes of {BATCH} worlds") as report:
        table = simulate(parser.parse_args().worlds, report)
    Console().print(table)


if __name__ == "__main__":
    main()
