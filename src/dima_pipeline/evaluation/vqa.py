"""Does the teacher read the scene? Held-out questions, answered with the BEAM tokens of their keyframe and of another.

The teacher that has only learned the language of the questions answers both equally well.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dima_pipeline.contracts.batch import BeamTokens, empty_memory
from dima_pipeline.contracts.frames import VQA_CATEGORIES
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.planners import keep_rows, lockstep
from dima_pipeline.evaluation.shuffling import other_scenes
from dima_pipeline.storage.scene_reader import SceneReader

if TYPE_CHECKING:
    from dima_pipeline.planners import Planner
    from dima_pipeline.teachers import Teacher

BATCH = 32


def answer_questions(
    teacher: "Teacher",
    planner: "Planner",
    reader: SceneReader,
    *,
    samples: pd.DataFrame,
    vqa_pairs: pd.DataFrame,
    config: EvaluationConfig,
) -> pd.DataFrame:
    """The ``VqaScores`` table: a seeded sample of the questions about ``samples``, balanced over the categories.

    ``samples`` are the held-out keyframes (whole scenes, for the planner's memory). Raises ``ValueError`` where no
    question is about them, or where they are all of one scene.
    """
    rng = np.random.default_rng(config.seed)
    scene_of = samples.set_index("sample_token")["scene_token"]
    pairs = vqa_pairs[vqa_pairs["sample_token"].isin(scene_of.index) & (vqa_pairs["check"] != "failed")]
    if pairs.empty:
        raise ValueError("table vqa_pairs has no question about the held-out keyframes; run annotation on all splits")
    asked = sample_questions(pairs, config.num_questions, rng)
    tokens = asked["sample_token"].to_numpy(object)
    scenes = scene_of.loc[tokens]
    other = tokens[other_scenes(scenes.tolist(), rng)]
    walked = samples[samples["scene_token"].isin(set(scenes))]
    beams = encode_keyframes(planner, reader, walked, set(tokens), config.num_parallel_scenes)
    shown = {"own": tokens, "shuffled": other}
    frames = [
        _answered(asked, beam, _ask(teacher, [beams[token] for token in seen], asked["question"].tolist(), config))
        for beam, seen in shown.items()
    ]
    return pd.concat(frames, ignore_index=True)


def sample_questions(pairs: pd.DataFrame, num_questions: int, rng: np.random.Generator) -> pd.DataFrame:
    """At most ``num_questions`` rows, equally many a category as far as there are so many, in a fixed order."""
    share = num_questions // len(VQA_CATEGORIES)
    chosen = []
    for category in VQA_CATEGORIES:
        rows = np.flatnonzero((pairs["category"] == category).to_numpy())
        chosen.append(np.sort(rng.permutation(rows)[:share]))
    return pairs.iloc[np.concatenate(chosen)].reset_index(drop=True)


def encode_keyframes(
    planner: "Planner", reader: SceneReader, samples: pd.DataFrame, wanted: set[str], num_parallel: int
) -> dict[str, BeamTokens]:
    """BEAM tokens (B = 1) of the ``wanted`` keyframes, with the memory of all keyframes of their scenes before them."""
    import torch

    from dima_pipeline.models.tensors import to_tensors

    module: Any = planner
    module.eval()
    device = str(next(module.parameters()).device)
    beams: dict[str, BeamTokens] = {}
    memory: Any = None
    with torch.no_grad():
        for tokens, begins in lockstep(samples, num_parallel):
            batch = to_tensors(reader.batch(tokens), device)
            if begins:
                memory = to_tensors(empty_memory(len(tokens), planner.num_bev_cells, planner.token_dim), device)
            beam, memory = planner.encode(batch, keep_rows(memory, len(tokens)))
            beams.update({token: _row(beam, row) for row, token in enumerate(tokens) if token in wanted})
    return beams


def _row(beam: BeamTokens, row: int) -> BeamTokens:
    return BeamTokens(**{name: values[row : row + 1] for name, values in _present(beam).items()})


def _present(beam: BeamTokens) -> dict[str, Any]:
    """The fields of the contract (a planner's own beam may have more) that this planner fills."""
    found = {field.name: getattr(beam, field.name) for field in fields(BeamTokens)}
    return {name: values for name, values in found.items() if values is not None}


def _ask(
    teacher: "Teacher", beams: Sequence[BeamTokens], questions: Sequence[str], config: EvaluationConfig
) -> list[str]:
    import torch

    answers: list[str] = []
    with torch.no_grad():
        for first in range(0, len(questions), BATCH):
            part = beams[first : first + BATCH]
            beam = BeamTokens(**{name: torch.cat([getattr(one, name) for one in part]) for name in _present(part[0])})
            answers += teacher.answer(beam, questions[first : first + BATCH], config.max_new_tokens)
    return answers


def _answered(asked: pd.DataFrame, beam: str, answers: Sequence[str]) -> pd.DataFrame:
    expected = asked["answer"].tolist()
    is_correct = [is_exact(answer, right) for answer, right in zip(answers, expected, strict=True)]
    return pd.DataFrame(
        {
            "sample_token": asked["sample_token"],
            "category": asked["category"],
            "beam": beam,
            "question": asked["question"],
            "expected": expected,
            "answer": list(answers),
            "correct": is_correct,
        }
    )


def is_exact(answer: str, expected: str) -> bool:
    """Exact match after lower-casing and trimming."""
    return answer.strip().lower() == expected.strip().lower()
