"""How far annotators agree: Cohen's kappa of every two of them, over the pairs that both decided about.

Cohen, A coefficient of agreement for nominal scales, 1960. What counts is the label (accept, fix, reject), not the
words of a fix.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Int

from dima_pipeline.curation.review import LABELS, latest_decisions


def agreement(decisions: pd.DataFrame) -> pd.DataFrame:
    """One row for every two annotators: ``first``, ``second``, ``num_shared``, ``observed`` (share of equal labels) and
    ``kappa``; both NaN where nothing is shared, kappa also where both always said the same one thing."""
    labels = latest_decisions(decisions).pivot(index="pair_id", columns="annotator", values="decision")
    rows = []
    for first, second in combinations(sorted(labels.columns), 2):
        shared = labels[[first, second]].dropna()
        counts = label_counts(shared[first], shared[second])
        observed = np.trace(counts) / counts.sum() if counts.sum() else np.nan
        rows.append((first, second, len(shared), observed, cohens_kappa(counts)))
    return pd.DataFrame(rows, columns=["first", "second", "num_shared", "observed", "kappa"])


def label_counts(first: pd.Series, second: pd.Series) -> Int[np.ndarray, "3 3"]:
    """How often the first annotator said one label of ``LABELS`` (row) and the second another one (column)."""
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(counts, ([LABELS.index(label) for label in first], [LABELS.index(label) for label in second]), 1)
    return counts


def cohens_kappa(counts: Int[np.ndarray, "K K"]) -> float:
    """(observed - expected) / (1 - expected) agreement; NaN where chance alone gives full agreement, or of nothing."""
    num = int(counts.sum())
    # In whole numbers, so that full agreement by chance is found exactly.
    expected = int(counts.sum(0) @ counts.sum(1))
    if num == 0 or expected == num * num:
        return float("nan")
    return (num * int(np.trace(counts)) - expected) / (num * num - expected)


def decisions_by_tier(decisions: pd.DataFrame) -> pd.DataFrame:
    """``tier``, ``num`` decisions and the share of every label: of tier ``audit``, an estimate for all pairs."""
    latest = latest_decisions(decisions)
    shares = pd.crosstab(latest["tier"], latest["decision"], normalize="index")
    shares = shares.reindex(columns=list(LABELS), fill_value=0.0).rename_axis(columns=None)
    shares.insert(0, "num", latest["tier"].value_counts())
    return shares.reset_index()
