"""Planner -> ONNX: one module with flat tensors in and out, dynamic in the batch only."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from dima_pipeline.contracts.batch import BevMemory, SceneBatch
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.planners import Planner
from dima_pipeline.serving.bundle import INPUTS, OUTPUTS

EXPORT_BATCH = 2
"""Traced with two samples: torch.export would take a batch of one for a constant."""
TEACHER_PACKAGES = ("transformers", "peft", "dima_pipeline.teachers")
VISION_PACKAGES = ("transformers.models.resnet",)
"""What comes from the same library and is no part of a language model: image backbones."""


class PlannerGraph(nn.Module):
    """``encode`` and ``plan`` in one call, arguments named as in ``serving.bundle.INPUTS``."""

    def __init__(self, planner: Planner) -> None:
        super().__init__()
        self.planner = planner

    def forward(
        self,
        *,
        images: UInt8[Tensor, "B C H W 3"],
        image_from_ego: Float[Tensor, "B C 3 4"],
        camera_valid: Bool[Tensor, "B C"],
        command: Int[Tensor, "B"],
        prev_from_ego: Float[Tensor, "B 3"],
        memory_bev: Float[Tensor, "B Q D"],
        memory_valid: Bool[Tensor, "B"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Trajectory, features, and the next memory: ``serving.bundle.OUTPUTS``."""
        batch = SceneBatch(
            images=images,
            image_from_ego=image_from_ego,
            camera_valid=camera_valid,
            command=command,
            prev_from_ego=prev_from_ego,
        )
        beam, memory = self.planner.encode(batch, BevMemory(bev=memory_bev, is_valid=memory_valid))
        plan = self.planner.plan(beam, batch)
        return plan.trajectory, plan.features, memory.bev, memory.is_valid


def write_onnx(planner: Planner, path: Path, image_size: tuple[int, int]) -> int:
    """Write ``planner`` as one self-contained ONNX file and return its opset; the planner's mode is left as it was."""
    module = PlannerGraph(planner)
    was_training = _as_module(planner).training
    module.eval()
    batch = torch.export.Dim("batch", min=1)
    with quiet():
        program = torch.onnx.export(
            module,
            kwargs=example_inputs(planner, image_size),
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes={name: {0: batch} for name in INPUTS},
            verbose=False,
        )
    assert program is not None
    program.save(path, external_data=False)
    module.train(was_training)
    model = without_traces(onnx.load(path))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return int(model.opset_import[0].version)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the exporter's notes (stack traces, source names): a third of a small file, and nobody's."""
    graph = model.graph
    del graph.value_info[:]
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    return model


def example_inputs(planner: Planner, image_size: tuple[int, int]) -> dict[str, Tensor]:
    """Inputs that fix all shapes but the batch."""
    device = next(_as_module(planner).parameters()).device
    inputs = (
        torch.zeros(EXPORT_BATCH, len(CAMERAS), *image_size, 3, dtype=torch.uint8),
        torch.eye(3, 4).expand(EXPORT_BATCH, len(CAMERAS), 3, 4).contiguous(),
        torch.ones(EXPORT_BATCH, len(CAMERAS), dtype=torch.bool),
        torch.zeros(EXPORT_BATCH, dtype=torch.int64),
        torch.zeros(EXPORT_BATCH, 3),
        torch.zeros(EXPORT_BATCH, planner.num_bev_cells, planner.token_dim),
        torch.ones(EXPORT_BATCH, dtype=torch.bool),
    )
    return {name: tensor.to(device) for name, tensor in zip(INPUTS, inputs, strict=True)}


def refuse_teacher(planner: Planner) -> None:
    """Raise ``ValueError`` that names the first module of ``planner`` that belongs to an LLM or an adapter of one."""
    for name, module in _as_module(planner).named_modules():
        home = type(module).__module__
        if is_within(home, TEACHER_PACKAGES) and not is_within(home, VISION_PACKAGES):
            kind = f"{home}.{type(module).__name__}"
            raise ValueError(
                f"the planner is not free of its teacher: '{name or 'itself'}' is a {kind}; export without"
            )


def is_within(module: str, packages: Sequence[str]) -> bool:
    """Whether an import path is one of ``packages`` or lies in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def check_size(planner: Planner, path: Path) -> None:
    """Assert that the graph holds hardly more numbers than the planner has: nothing else was traced into it."""
    module = _as_module(planner)
    own = sum(tensor.numel() for tensor in [*module.parameters(), *module.buffers()])
    model = onnx.load(path)
    written = sum(onnx.numpy_helper.to_array(tensor).size for tensor in model.graph.initializer)
    # Index ranges and folded copies of fixed encodings come on top.
    assert written <= 1.25 * own + 10_000, f"{path} holds {written} numbers, the planner has {own}"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's progress notes to itself; its errors still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _as_module(planner: Planner) -> nn.Module:
    assert isinstance(planner, nn.Module), type(planner)
    return planner
