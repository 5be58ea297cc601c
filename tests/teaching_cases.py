"""Small beams, questions and batches for tests of teachers, surrogate tasks and the joint objective."""

from typing import Any

import numpy as np
import torch

from dima_pipeline.contracts.batch import BeamTokens, SceneWindow, TrainingBatch, VqaPair
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.surrogates import Privileged, TeacherOutput
from dima_pipeline.teachers import TEACHERS
from scene_batches import make_edits, make_scene_batch, make_targets

TOKEN_DIM, FEATURE_DIM, TEACHER_DIM = 16, 24, 32
BEV_SHAPE = (6, 4)
IMAGE_SIZE = (32, 64)
TINY_TEACHER = {
    "name": "causal_lm",
    "hidden_dim": TEACHER_DIM,
    "num_layers": 2,
    "num_heads": 2,
    "num_bev_queries": 6,
    "num_agent_queries": 4,
    "num_map_queries": 3,
    "adapter_dim": 16,
    "adapter_depth": 1,
    "adapter_heads": 2,
    "lora_rank": 2,
}
TINY_PLANNER = {
    "name": "vad",
    "token_dim": TOKEN_DIM,
    "feature_dim": FEATURE_DIM,
    "bev_shape": BEV_SHAPE,
    "heights_m": (0.0, 1.5),
    "image_channels": 16,
    "num_bev_layers": 1,
    "num_decoder_layers": 1,
    "num_heads": 2,
    "num_agent_queries": 6,
    "num_map_queries": 5,
}
QUESTIONS = ("How many cars are ahead?", "What should the ego do next?", "Is it night?")
ANSWERS = ("two", "keep going straight", "no")
TEXTS = [*QUESTIONS, *ANSWERS] * 8


def make_beam(seed: int = 0, batch_size: int = 3, num_agents: int = 5, num_map: int = 4) -> BeamTokens:
    """Random tokens that take gradients; the last agent and map token of each sample is padding."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(number: int) -> torch.Tensor:
        return torch.randn(batch_size, number, TOKEN_DIM, generator=generator).requires_grad_()

    agent_valid = torch.arange(num_agents).expand(batch_size, -1) < num_agents - 1
    map_valid = torch.arange(num_map).expand(batch_size, -1) < num_map - 1
    return BeamTokens(
        bev=tokens(BEV_SHAPE[0] * BEV_SHAPE[1]),
        ego=tokens(1),
        agent=tokens(num_agents),
        map=tokens(num_map),
        agent_valid=agent_valid,
        map_valid=map_valid,
    )


def tiny_teacher(**options: Any) -> Any:
    """A teacher of the class under test, small; the same weights each time."""
    torch.manual_seed(0)
    config = TEACHERS.parse({**TINY_TEACHER, **options})
    return TEACHERS.build(config, token_dim=TOKEN_DIM, feature_dim=FEATURE_DIM, texts=TEXTS)


def make_pair(index: int, category: str = "planning") -> VqaPair:
    """One of three questions with its answer."""
    return VqaPair(f"sample-{index}", category, QUESTIONS[index % 3], ANSWERS[index % 3])


def make_known(batch_size: int = 3, seed: int = 0) -> Privileged:
    """Targets with an addition, a deletion and no edit in turn, and two future keyframes of which the last sample
    lacks the second."""
    rng = np.random.default_rng(seed)
    targets, edits = to_tensors((make_targets(rng, batch_size), make_edits(rng, batch_size)))
    future_valid = torch.ones(batch_size, 2, dtype=torch.bool)
    future_valid[-1, 1] = False
    generator = torch.Generator().manual_seed(seed)
    return Privileged(
        targets=targets,
        edits=edits,
        edit_pairs=tuple((make_pair(i),) if edits.kind[i] > 0 else () for i in range(batch_size)),
        future_bev=torch.randn(batch_size, 2, BEV_SHAPE[0] * BEV_SHAPE[1], TOKEN_DIM, generator=generator),
        future_valid=future_valid,
    )


def make_answer(batch_size: int = 3, seed: int = 1, language_loss: torch.Tensor | None = None) -> TeacherOutput:
    """What a teacher might say: random features that take gradients."""
    generator = torch.Generator().manual_seed(seed)

    def features(*shape: int) -> torch.Tensor:
        return torch.randn(batch_size, *shape, generator=generator).requires_grad_()

    return TeacherOutput(
        bev=features(6, TEACHER_DIM),
        ego=features(1, TEACHER_DIM),
        agent=features(4, TEACHER_DIM),
        map=features(3, TEACHER_DIM),
        trajectory=features(6, 2),
        ego_features=features(FEATURE_DIM),
        language_loss=language_loss,
    )


def make_training_batch(batch_size: int = 8, seed: int = 0) -> TrainingBatch:
    """One past and two future keyframes, questions of two categories, and edits; as tensors.

    The first sample is the start of a scene, the last one the end. Added vehicles stand on the way straight ahead.
    """
    rng = np.random.default_rng(seed)

    def frame() -> Any:
        return make_scene_batch(rng, batch_size, IMAGE_SIZE)

    past_valid, future_valid = np.ones((batch_size, 1), bool), np.ones((batch_size, 2), bool)
    past_valid[0], future_valid[-1] = False, False
    window = SceneWindow(
        past=(frame(),),
        past_valid=past_valid,
        current=frame(),
        future=(frame(), frame()),
        future_valid=future_valid,
    )
    targets, edits = make_targets(rng, batch_size), make_edits(rng, batch_size)
    batch = TrainingBatch(
        sample_tokens=tuple(f"sample-{i}" for i in range(batch_size)),
        window=window,
        targets=targets,
        edits=edits,
        pairs=tuple((make_pair(i, "perception"), make_pair(i + 1, "planning")) for i in range(batch_size)),
        edit_pairs=tuple((make_pair(i),) if edits.kind[i] else () for i in range(batch_size)),
    )
    return to_tensors(batch)
