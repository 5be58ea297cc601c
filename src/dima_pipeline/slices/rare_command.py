"""Keyframes with a command that few have: the ego is told to turn left or right, whether or not it turns already.

Nine of ten keyframes of nuScenes have the command to go straight on. ``turning`` asks what is driven within 3 s; this
asks what is told, so it holds for who still waits at the junction, and not for a drift of 2 m in a gentle bend.
"""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from dima_pipeline.contracts.frames import COMMANDS
from dima_pipeline.plugins import config_dataclass, unknown
from dima_pipeline.slices._tracks import by_sample
from dima_pipeline.storage.keyframes import ego_paths_by_sample


@config_dataclass
class Config:
    """Which commands are rare."""

    commands: tuple[str, ...] = Field(("left", "right"), min_length=1)
    """Of ``contracts.frames.COMMANDS``."""
    min_turn_deg: float = Field(20.0, ge=0)
    """Where no route is known the driven command counts, if the heading changes by this within the next 3 s."""

    def __post_init__(self) -> None:
        for command in self.commands:
            if command not in COMMANDS:
                raise ValueError(unknown("command", command, list(COMMANDS), where="rare_command.commands"))


class RareCommand:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        samples, config = tables.samples, self.config
        _, _, ahead, valid = ego_paths_by_sample(tables)
        turns = (valid & (np.abs(ahead[..., 2]) >= np.radians(config.min_turn_deg))).any(1)
        told = samples.command_route.isin(config.commands)
        driven = (samples.command_route == "unknown") & samples.command_driven.isin(config.commands)
        return by_sample((told | (driven & turns)).to_numpy(bool), tables)


build = RareCommand
