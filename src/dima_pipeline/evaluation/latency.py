"""How long one plan takes from images to trajectory, batch 1, as the car would call it."""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from dima_pipeline.contracts.batch import SceneBatch, take
from dima_pipeline.evaluation.planners import RunsPlans

NUM_WARM_UP = 5


def measure_latency(
    bundle: RunsPlans,
    batch: SceneBatch,
    *,
    planner: str,
    num_runs: int,
    clock: Callable[[], float] = time.perf_counter,
    device: str = "cpu",
) -> pd.DataFrame:
    """One row of the ``latencies`` table: percentiles (ms) of ``bundle.plan`` on the first keyframe of ``batch``.

    The memory of the run before goes in each time, as on the road; the first runs are not counted.
    """
    one = take(batch, slice(0, 1))
    _, memory = bundle.plan(one, None)
    for _ in range(NUM_WARM_UP):
        _, memory = bundle.plan(one, memory)
    taken_ms = []
    for _ in range(num_runs):
        begin = clock()
        _, memory = bundle.plan(one, memory)
        taken_ms.append(1e3 * (clock() - begin))
    p50, p95, p99 = np.percentile(taken_ms, [50, 95, 99])
    row = {"planner": planner, "device": device, "batch": 1, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
    return pd.DataFrame([row])
