"""``fake_planner`` on a slow disk, so that there is time to kill it while it writes, or with a step without end."""

import os
import time

import torch.distributed

from dima_pipeline.plugins import config_dataclass
from doubles import fake_planner
from doubles.fake_planner import FakePlanner

_fsync = os.fsync


@config_dataclass
class Config(fake_planner.Config):
    fsync_s: float = 0.0
    """That each fsync of the process takes longer."""
    hang_at: int | None = None
    """Call of ``losses`` that never returns, in the last rank."""


class TroubledPlanner(FakePlanner):
    config: Config

    def losses(self, beam, plan, batch, targets):
        group = torch.distributed
        is_last = not group.is_initialized() or group.get_rank() + 1 == group.get_world_size()
        if is_last and self.num_calls == self.config.hang_at:
            sleep_for_ever()
        return super().losses(beam, plan, batch, targets)


def sleep_for_ever() -> None:
    while True:
        time.sleep(3600)


def build(config: Config, *, image_size: tuple[int, int]) -> TroubledPlanner:
    assert len(image_size) == 2
    if config.fsync_s:
        os.fsync = lambda file: (time.sleep(config.fsync_s), _fsync(file))[1]
    return TroubledPlanner(config)
