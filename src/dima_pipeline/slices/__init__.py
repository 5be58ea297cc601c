"""Slices: long-tail subsets of keyframes. A new one is one file with ``Config`` and ``build``; pandas only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

if TYPE_CHECKING:
    import pandas as pd

SLICES = Family(__name__)
SliceSpec = Annotated[Any, BeforeValidator(SLICES.parse)]


class Slice(Protocol):
    """A rule that finds keyframes."""

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token, one entry for every row of ``tables.samples``. ``tables`` has the fields of
        ``datasets.SceneTables``."""


def slice_counts(slice_members: pd.DataFrame, samples: pd.DataFrame, scenes: pd.DataFrame) -> pd.DataFrame:
    """How much stands behind each slice: slice, split, num_events, num_scenes, num_samples.

    One row for every slice of ``slice_members`` and every split of ``scenes``, sorted, zeros included.
    Raises ``ValueError`` naming the first member that belongs to no keyframe.
    """
    import pandas as pd

    places = samples[["sample_token", "scene_token"]].merge(scenes[["scene_token", "split"]], on="scene_token")
    members = slice_members.merge(places, on="sample_token", how="left")
    if members["split"].isna().any():
        token = members.loc[members["split"].isna(), "sample_token"].iloc[0]
        raise ValueError(f"slice_members: sample_token '{token}' is not in samples and scenes")
    counted = members.groupby(["slice", "split"]).agg(
        num_events=("event_id", "nunique"),
        num_scenes=("scene_token", "nunique"),
        num_samples=("sample_token", "nunique"),
    )
    names = [sorted(slice_members["slice"].unique()), sorted(scenes["split"].unique())]
    return counted.reindex(pd.MultiIndex.from_product(names, names=counted.index.names), fill_value=0).reset_index()
