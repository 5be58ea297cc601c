"""Questions to a teacher that can only answer from the tokens it is given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dima_pipeline.contracts import result_tables
from dima_pipeline.contracts import tables as contracts
from dima_pipeline.contracts.batch import BeamTokens, BevMemory, SceneBatch
from dima_pipeline.contracts.frames import VQA_CATEGORIES
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.vqa import answer_questions, encode_keyframes, is_exact, sample_questions
from dima_pipeline.storage.scene_reader import SceneReader
from evaluation_scenes import make_fleet, write_shards


class GreyPlanner(torch.nn.Module):
    """Ego token = grey of the image; the memory counts keyframes."""

    token_dim, num_bev_cells = 2, 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def encode(self, batch: SceneBatch, memory: BevMemory) -> tuple[BeamTokens, BevMemory]:
        grey = batch.images[:, 0, 0, 0, 0].float() * self.weight
        bev = torch.where(memory.is_valid[:, None, None], memory.bev, torch.zeros_like(memory.bev)) + 1
        ego = torch.stack([grey, bev[:, 0, 0]], -1)[:, None]
        agents, valid = torch.zeros(len(grey), 1, 2), torch.ones(len(grey), 1, dtype=torch.bool)
        beam = BeamTokens(bev=bev, ego=ego, agent=agents, map=agents, agent_valid=valid, map_valid=valid)
        return beam, BevMemory(bev=bev, is_valid=torch.ones(len(grey), dtype=torch.bool))


class SeeingTeacher:
    """Answers the row and the number of keyframes seen, as it reads them from the ego token."""

    def answer(self, beam: BeamTokens, questions: Sequence[str], max_new_tokens: int) -> list[str]:
        assert len(questions) == len(beam.ego)
        return [f" Row {int(row)} seen {int(seen)}" for row, seen in beam.ego[:, 0].tolist()]


class DeafTeacher:
    """Answers the same whatever it is shown."""

    def answer(self, beam: BeamTokens, questions: Sequence[str], max_new_tokens: int) -> list[str]:
        return ["yes"] * len(questions)


@pytest.fixture(name="world")
def make_world(tmp_path: Path) -> tuple[SceneTables, SceneReader, pd.DataFrame]:
    """Two training and three validation scenes; a question of each category on every keyframe."""
    tables = make_fleet(num_scenes=5, num_samples=6, num_train=2)
    reader = SceneReader(tables.samples, write_shards(tmp_path / "shards", tables.samples))
    rows: list[dict[str, Any]] = []
    places = zip(tables.samples["sample_token"], tables.samples["index"], strict=True)
    for row, (sample_token, index) in enumerate(places):
        for category in VQA_CATEGORIES:
            text = {"question": "what row?", "answer": f"row {row} SEEN {index + 1}", "objects": []}
            rows.append(
                {
                    "sample_token": sample_token,
                    "category": category,
                    **text,
                    "source": "rules",
                    "check": "passed",
                    "pair_id": f"{len(rows):016x}",
                    "reason": None,
                }
            )
    return tables, reader, contracts.VqaPairs.validate(pd.DataFrame(rows))


def ask(world: tuple[SceneTables, SceneReader, pd.DataFrame], teacher: Any, **options: Any) -> pd.DataFrame:
    """The scores of a teacher on the validation keyframes."""
    tables, reader, pairs = world
    held_out = tables.samples[
        tables.samples["scene_token"].isin(tables.scenes.loc[tables.scenes["split"] == "val", "scene_token"])
    ]
    config = EvaluationConfig(num_questions=40, **options)
    return result_tables.VqaScores.validate(
        answer_questions(teacher, GreyPlanner(), reader, samples=held_out, vqa_pairs=pairs, config=config)
    )


def test_a_teacher_that_reads_the_tokens_is_right_with_its_own_and_wrong_with_anothers(world):
    scores = ask(world, SeeingTeacher())
    assert scores.loc[scores["beam"] == "own", "correct"].all()
    assert not scores.loc[scores["beam"] == "shuffled", "correct"].any()
    assert set(scores["sample_token"]) <= {f"scene-000{scene}-00{at}" for scene in (2, 3, 4) for at in range(6)}


def test_a_teacher_that_ignores_the_tokens_is_equally_right(world):
    tables, reader, pairs = world
    yes = pairs.assign(answer=np.where(np.arange(len(pairs)) % 3 == 0, "yes", "no"))
    scores = ask((tables, reader, yes), DeafTeacher())
    shares = scores.groupby("beam")["correct"].mean()
    assert 0 < shares["own"] == shares["shuffled"] < 1


def test_questions_are_balanced_seeded_and_the_same_for_both_kinds_of_tokens(world):
    scores = ask(world, SeeingTeacher())
    assert (scores.groupby(["beam", "category"]).size() == 10).all()
    keys = ["sample_token", "category", "question", "expected"]
    own, shuffled = (scores.loc[scores["beam"] == beam, keys].reset_index(drop=True) for beam in ("own", "shuffled"))
    pd.testing.assert_frame_equal(own, shuffled)
    pd.testing.assert_frame_equal(scores, ask(world, SeeingTeacher()))
    assert not scores.equals(ask(world, SeeingTeacher(), seed=1))


def test_a_scarce_category_gives_all_it_has():
    rows = [{"sample_token": "a", "category": "behavior"}] * 2 + [{"sample_token": "a", "category": "planning"}] * 50
    chosen = sample_questions(pd.DataFrame(rows), 40, np.random.default_rng(0))
    assert chosen["category"].value_counts().to_dict() == {"planning": 10, "behavior": 2}


def test_failed_pairs_are_never_asked_and_no_question_is_an_error(world):
    tables, reader, pairs = world
    failed = pairs.assign(check=np.where(pairs["category"] == "planning", "failed", "unchecked"))
    assert "planning" not in set(ask((tables, reader, failed), SeeingTeacher())["category"])
    training_only = pairs[pairs["sample_token"].str.startswith("scene-0000")]
    with pytest.raises(ValueError, match="no question about the held-out keyframes"):
        ask((tables, reader, training_only), SeeingTeacher())


def test_tokens_of_a_keyframe_do_not_depend_on_how_many_scenes_walk_side_by_side(world):
    tables, reader, _ = world
    wanted = {"scene-0002-003", "scene-0004-005"}
    one, many = (encode_keyframes(GreyPlanner(), reader, tables.samples, wanted, num) for num in (1, 5))
    assert set(one) == set(many) == wanted
    for sample_token in wanted:
        assert torch.equal(one[sample_token].ego, many[sample_token].ego) and len(one[sample_token].ego) == 1


def test_case_and_blanks_do_not_make_an_answer_wrong():
    assert is_exact(" It Slows down.\n", "it slows down.")
    assert not is_exact("it slows", "it slows down.")
