"""What training costs, measured once in the loop: throughput, waiting for data, memory."""

import time

import psutil
import torch


class Meter:
    """Measures from one logged step to the next."""

    def __init__(self, samples_per_step: int, device: torch.device) -> None:
        self._samples_per_step, self._device = samples_per_step, device
        self._process = psutil.Process()
        self._start()

    def _start(self) -> None:
        self._started_s = time.perf_counter()
        self._num_steps, self._waited_s = 0, 0.0

    def step_done(self, waited_s: float) -> None:
        """Count a step that waited so long for its data."""
        self._num_steps += 1
        self._waited_s += waited_s

    def read(self) -> dict[str, float]:
        """Fields of a log line; what is a mean is one over the steps since the last call.

        ``samples_per_second`` counts all workers and everything that took time, checkpoints among it; the rest is this
        worker's own. ``data_stall_share`` is that of the time in which it waited for data. ``device_memory_bytes``, the
        peak of the run, is there on CUDA alone.
        """
        elapsed_s = time.perf_counter() - self._started_s
        found = {
            "samples_per_second": round(self._num_steps * self._samples_per_step / elapsed_s, 3),
            "data_wait_seconds": round(self._waited_s / self._num_steps, 4),
            "data_stall_share": round(self._waited_s / elapsed_s, 4),
            "resident_memory_bytes": self._process.memory_info().rss,
        }
        if self._device.type == "cuda":
            found["device_memory_bytes"] = torch.cuda.max_memory_allocated(self._device)
        self._start()
        return found
