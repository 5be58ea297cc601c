"""Does the teacher read the scene? Its answers with the scene's own tokens beside those with another scene's."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import VQA_CATEGORIES
from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.wording import interval, percent, signed
from dima_pipeline.scoring.bootstrap import scene_interval, scene_sums

NUM_RESAMPLES = 1000


def answer_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """Right answers with own and shuffled scene tokens by category, the total last; empty without questions."""
    table = facts.vqa_scores
    if table.empty:
        return []
    scene = table["sample_token"].map(facts.samples.set_index("sample_token")["scene_token"])
    assert scene.notna().all(), "questions are about keyframes of the run"
    table = table.assign(scene=scene)
    names = [name for name in VQA_CATEGORIES if (table["category"] == name).any()]
    rows = [_answers(name, table[table["category"] == name], facts.min_scenes) for name in names]
    return [*rows, _answers("all", table, facts.min_scenes)]


def _answers(name: str, table: pd.DataFrame, min_scenes: int) -> dict[str, Any]:
    asked = table[table["beam"] == "own"]
    own = asked["correct"].to_numpy(float)
    shuffled = table.loc[table["beam"] == "shuffled", "correct"].to_numpy(float)
    assert len(own) == len(shuffled), "every question is asked with own and with shuffled tokens"
    gain = own - shuffled
    low, high = _gain_interval(gain, asked["scene"].to_numpy(object), min_scenes)
    return {
        "name": name,
        "num": len(own),
        "own": percent(own.mean(), 0),
        "shuffled": percent(shuffled.mean(), 0),
        "own_share": float(own.mean()),
        "shuffled_share": float(shuffled.mean()),
        "difference": signed(100 * gain.mean(), 0),
        "interval": interval(100 * low, 100 * high, digits=0),
        "low": low,
        "high": high,
    }


def _gain_interval(gain: np.ndarray, scene: np.ndarray, min_scenes: int) -> tuple[float, float]:
    """95 % interval of the mean; questions about one scene are not independent, so scenes are what counts."""
    index = np.unique(scene.astype(str), return_inverse=True)[1]
    sums, counts = scene_sums(gain[:, None], np.ones((len(gain), 1)), index)
    if len(sums) < min_scenes:
        return math.nan, math.nan
    [low], [high] = scene_interval(sums, counts, np.divide, num_resamples=NUM_RESAMPLES, seed=0)
    return float(low), float(high)


def question_rows(facts: ReportFacts, num_each: int = 2) -> list[dict[str, Any]]:
    """A few questions a category with both answers: as far as there are such, one answered rightly and one wrongly."""
    own = facts.vqa_scores[facts.vqa_scores["beam"] == "own"].reset_index(drop=True)
    shuffled = facts.vqa_scores[facts.vqa_scores["beam"] == "shuffled"].reset_index(drop=True)
    rows: list[dict[str, Any]] = []
    for category in VQA_CATEGORIES:
        candidates = own[own["category"] == category]
        for position in _mixed(candidates["correct"], num_each):
            asked = own.loc[position]
            columns = ["category", "question", "expected", "answer", "correct"]
            rows.append({**asked[columns], "other_answer": shuffled.loc[position, "answer"]})
    return rows


def _mixed(correct: pd.Series, num: int) -> Sequence[int]:
    """Up to ``num`` labels of ``correct``: right and wrong in turn, then whatever is left."""
    right, wrong = correct.index[correct.astype(bool)].tolist(), correct.index[~correct.astype(bool)].tolist()
    turns = [label for pair in zip(right, wrong, strict=False) for label in pair]
    left = [label for label in correct.index if label not in turns]
    return [*turns, *left][:num]
