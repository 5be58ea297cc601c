"""Pairing keyframes with those of other scenes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.evaluation.shuffling import other_scenes


@given(st.lists(st.integers(1, 12), min_size=2, max_size=8), st.integers(0, 1000))
def test_every_keyframe_gets_one_of_another_scene(sizes: list[int], seed: int):
    scenes = [f"scene-{scene}" for scene, size in enumerate(sizes) for _ in range(size)]
    partner = other_scenes(scenes, np.random.default_rng(seed))
    assert all(scenes[other] != scene for scene, other in zip(scenes, partner, strict=True))
    if max(sizes) <= sum(sizes) / 2:
        assert sorted(partner) == list(range(len(scenes))), "every image is shown once"


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others():
    scenes = np.repeat(["a", "b", "c"], 10).tolist()
    first, again, other = (other_scenes(scenes, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_scenes_in_any_order_of_rows_are_kept_apart():
    scenes = ["b", "a", "b", "c", "a", "c"]
    partner = other_scenes(scenes, np.random.default_rng(0))
    assert all(scenes[other] != scene for scene, other in zip(scenes, partner, strict=True))


def test_one_scene_alone_cannot_be_shuffled():
    with pytest.raises(ValueError, match="there is only 'lonely'"):
        other_scenes(["lonely"] * 3, np.random.default_rng(0))


def test_nothing_is_shuffled_to_nothing():
    assert other_scenes([], np.random.default_rng(0)).shape == (0,)
