"""Which pairs people should look at first: what a check refused, what is flagged, what is rare, and a random sample.

Ties are broken by a digest of seed and ``pair_id``: another annotation that says the same gives the same queue.
"""

import hashlib

import numpy as np
import pandas as pd
from pydantic import Field

from dima_pipeline.curation.review import DISPUTED, no_decisions, outcomes
from dima_pipeline.plugins import config_dataclass

TIERS = ("failed", "flagged", "rare_slice", "llm_unchecked", "audit")
"""In the order of the queue."""


@config_dataclass
class ReviewConfig:
    """How much is reviewed, and how it is shared out.

    Shares are relative to their sum. What a tier cannot fill goes to the others, in their order.
    """

    num_tasks: int = Field(200, ge=1)
    seed: int = 0
    num_annotators: int = Field(1, ge=1)
    """A pair leaves the queue when so many have decided about it and more than half of them agree."""
    failed_share: float = Field(0.4, ge=0)
    flagged_share: float = Field(0.2, ge=0)
    rare_slice_share: float = Field(0.15, ge=0)
    llm_unchecked_share: float = Field(0.15, ge=0)
    audit_share: float = Field(0.1, ge=0)
    """Drawn before the others, from all pairs that are trained on: an estimate of how many of those are wrong."""
    max_slice_share: float = Field(0.1, gt=0, le=1)
    """A slice with at most this share of the keyframes is rare."""

    def __post_init__(self) -> None:
        if not sum(self._weights().values()):
            raise ValueError("every share of the review queue is 0: one must be more")

    def share(self, tier: str) -> float:
        """The share of a tier of ``TIERS``; all of them together are 1."""
        weights = self._weights()
        return weights[tier] / sum(weights.values())

    def _weights(self) -> dict[str, float]:
        return {tier: float(getattr(self, f"{tier}_share")) for tier in TIERS}


def review_queue(
    pairs: pd.DataFrame,
    slice_members: pd.DataFrame,
    decisions: pd.DataFrame | None = None,
    config: ReviewConfig | None = None,
) -> pd.DataFrame:
    """At most ``num_tasks`` rows of ``vqa_pairs``, the most urgent first, with ``tier`` and ``why`` (in words).

    Pairs on which enough annotators of ``decisions`` agree are left out.
    """
    config = config or ReviewConfig()
    waiting = pairs[~pairs["pair_id"].isin(_settled(decisions, config.num_annotators))].reset_index(drop=True)
    waiting = waiting.assign(_order=_order(waiting["pair_id"], config.seed)).sort_values("_order")
    sample = _audit(waiting, config)
    rest = waiting.drop(index=sample.index)
    candidates = {**_candidates(rest, slice_members, config.max_slice_share), "audit": sample}
    sizes = _sizes({tier: len(rows) for tier, rows in candidates.items()}, config)
    parts = [candidates[tier].head(sizes[tier]) for tier in TIERS]
    missing = config.num_tasks - sum(map(len, parts))
    taken = np.concatenate([part.index.to_numpy() for part in parts])
    more = rest[~rest.index.isin(taken) & (rest["check"] != "failed")].head(missing)
    parts.append(more.assign(tier="audit", why="random sample"))
    return pd.concat(parts).drop(columns="_order").reset_index(drop=True)


def _settled(decisions: pd.DataFrame | None, num_annotators: int) -> set[str]:
    found = outcomes(no_decisions() if decisions is None else decisions)
    is_settled = (found["num_annotators"] >= num_annotators) & (found["decision"] != DISPUTED)
    return set(found[is_settled]["pair_id"])


def _order(pair_ids: pd.Series, seed: int) -> list[str]:
    return [hashlib.sha256(f"{seed} {pair_id}".encode()).hexdigest()[:16] for pair_id in pair_ids]


def _audit(waiting: pd.DataFrame, config: ReviewConfig) -> pd.DataFrame:
    """The first in the random order: a uniform sample."""
    trained_on = waiting[waiting["check"] != "failed"]
    return trained_on.head(round(config.audit_share * config.num_tasks)).assign(tier="audit", why="random sample")


def _candidates(rest: pd.DataFrame, slice_members: pd.DataFrame, max_slice_share: float) -> dict[str, pd.DataFrame]:
    """Rows of every tier but the last, each row in the first tier that it belongs to, the most urgent first."""
    failed = rest["check"] == "failed"
    flagged = ~failed & rest["reason"].notna()
    rare = _rare(slice_members, rest["sample_token"].nunique(), max_slice_share)
    in_slice = ~failed & ~flagged & rest["sample_token"].isin(rare.index)
    of_llm = ~failed & ~flagged & ~in_slice & rest["source"].str.startswith("llm:") & (rest["check"] == "unchecked")
    found = {}
    for tier, mask in (("failed", failed), ("flagged", flagged)):
        rows = rest[mask]
        reason = rows["reason"].fillna("no reason given")
        # Of each kind of fault one, then a second one: what is common must not hide what is rare.
        found[tier] = _in_turn(rows.assign(tier=tier, why=reason), [str(text).partition(":")[0] for text in reason])
    rows = rest[in_slice]
    of_row = rare.loc[rows["sample_token"]]
    rows = rows.assign(tier="rare_slice", why=[f"slice {name}" for name in of_row["slice"]])
    found["rare_slice"] = _in_turn(rows, list(of_row["event_id"]), list(of_row["num"]))
    rows = rest[of_llm]
    found["llm_unchecked"] = _in_turn(
        rows.assign(tier="llm_unchecked", why="unchecked, from " + rows["source"]), list(rows["sample_token"])
    )
    return found


def _in_turn(rows: pd.DataFrame, groups: list[str], sizes: list[int] | None = None) -> pd.DataFrame:
    """The first row of every group, then the second of every group; among equals small sizes first."""
    turn = pd.Series(groups, dtype=object).groupby(groups, sort=False).cumcount()
    ordered = rows.assign(_turn=turn.to_numpy(), _size=0 if sizes is None else sizes)
    return ordered.sort_values(["_turn", "_size", "_order"]).drop(columns=["_turn", "_size"])


def _rare(slice_members: pd.DataFrame, num_keyframes: int, max_share: float) -> pd.DataFrame:
    """By sample_token: the rarest of its rare slices, its event and the number of keyframes of the slice."""
    num = slice_members.groupby("slice")["sample_token"].nunique()
    rows = slice_members.assign(num=slice_members["slice"].map(num))
    rows = rows[rows["num"] <= max_share * num_keyframes].sort_values(["num", "slice"], kind="stable")
    return rows.drop_duplicates("sample_token").set_index("sample_token")


def _sizes(available: dict[str, int], config: ReviewConfig) -> dict[str, int]:
    """How many of each tier: its share, then what is left over, in the order of the tiers."""
    sizes = {tier: min(available[tier], round(config.share(tier) * config.num_tasks)) for tier in TIERS}
    left = config.num_tasks - sum(sizes.values())
    for tier in TIERS:
        more = max(min(left, available[tier] - sizes[tier]), -sizes[tier])
        sizes[tier] += more
        left -= more
    return sizes
