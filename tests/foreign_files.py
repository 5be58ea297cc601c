"""Checkpoints as others write them, small: VAD's way, and the broken and hostile ones."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


class SmallVad(nn.Module):
    """A few modules under the names that map ``vad`` leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 3), "bn1": nn.BatchNorm2d(4)})
        self.bev_encoder = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(4, 4)])})
        self.agents = nn.ModuleDict({"layers": nn.ModuleList([nn.LayerNorm(4)])})
        self.agent_head = nn.ModuleDict({"cls_branches": nn.ModuleList([nn.Linear(4, 2)])})
        self.trajectory_head = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 6))


VAD_NAMES = {
    "backbone.": "img_backbone.",
    "bev_encoder.": "pts_bbox_head.transformer.encoder.",
    "agents.": "pts_bbox_head.transformer.decoder.",
    "agent_head.": "pts_bbox_head.",
    "trajectory_head.": "pts_bbox_head.ego_fut_decoder.",
}


def vad_checkpoint(model: nn.Module) -> dict:
    """What mmdetection's runner saves of ``model`` under DistributedDataParallel, in VAD's names."""
    state = {}
    for name, tensor in model.state_dict().items():
        own, theirs = next(pair for pair in VAD_NAMES.items() if name.startswith(pair[0]))
        state[f"module.{theirs}{name.removeprefix(own)}"] = tensor
    state["module.pts_bbox_head.code_weights"] = torch.ones(10)
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 2e-4, "params": [0]}]}
    return {"meta": {"epoch": 60, "CLASSES": ("car",)}, "state_dict": state, "optimizer": optimizer}


def save(content: object, path: Path, **options: object) -> Path:
    """``torch.save``."""
    torch.save(content, path, **options)
    return path


class Malicious:
    """Makes a file where it is unpickled without care."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.victim}",)


def with_pickle(pickled: bytes, path: Path) -> Path:
    """A checkpoint of PyTorch's zip format whose pickle is ``pickled``."""
    source = save({"a": torch.zeros(1)}, path.with_suffix(".source"))
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(path, "w") as written:
        for name in read.namelist():
            written.writestr(name, pickled if name.endswith("data.pkl") else read.read(name))
    return path


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Whether names, dtypes, shapes and values are the same, NaN like NaN."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and torch.equal(left[name].nan_to_num(7.5), right[name].nan_to_num(7.5))
        for name in left
    )
