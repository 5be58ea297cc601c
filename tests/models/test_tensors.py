"""The door between numpy and torch."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from dima_pipeline.contracts.batch import SceneWindow, TrainingBatch, VqaPair
from dima_pipeline.models.tensors import to_arrays, to_tensors
from scene_batches import make_edits, make_scene_batch, make_targets


@pytest.fixture
def training_batch() -> TrainingBatch:
    rng = np.random.default_rng(0)
    scene = make_scene_batch(rng, 2, image_size=(8, 12))
    window = SceneWindow(
        past=(scene,), past_valid=np.ones((2, 1), bool), current=scene, future=(), future_valid=np.ones((2, 0), bool)
    )
    pair = VqaPair("a", "planning", "Go?", "Yes.")
    return TrainingBatch(
        sample_tokens=("a", "b"),
        window=window,
        targets=make_targets(rng),
        edits=make_edits(rng),
        pairs=((pair,), ()),
        edit_pairs=((), ()),
    )


def test_a_nested_batch_becomes_tensors_of_the_agreed_types(training_batch: TrainingBatch) -> None:
    batch = to_tensors(training_batch)
    assert batch.window.past[0].images.dtype == torch.uint8
    assert batch.window.current.image_from_ego.dtype == torch.float32
    assert batch.window.current.command.dtype == torch.int64
    assert batch.window.current.camera_valid.dtype == torch.bool
    assert batch.targets.agent_box.dtype == torch.float32


def test_words_pass_through_unchanged(training_batch: TrainingBatch) -> None:
    batch = to_tensors(training_batch)
    assert batch.sample_tokens == ("a", "b")
    assert batch.pairs == training_batch.pairs


def test_there_and_back_is_the_same(training_batch: TrainingBatch) -> None:
    back = to_arrays(to_tensors(training_batch)).targets
    for field in fields(back):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(training_batch.targets, field.name))


def test_doubles_become_floats_and_small_integers_become_long() -> None:
    double, small = to_tensors((np.array([0.5]), np.array([3], np.int16)))
    assert double.dtype == torch.float32
    assert small.dtype == torch.int64


def test_a_read_only_array_is_copied_not_aliased(recwarn: pytest.WarningsRecorder) -> None:
    array = np.zeros(2, np.float32)
    array.flags.writeable = False
    to_tensors((array,))[0][0] = 1.0
    assert array[0] == 0.0
    assert not recwarn.list


def test_gradients_do_not_hinder_the_way_back() -> None:
    assert to_arrays((torch.ones(1, requires_grad=True),))[0][0] == 1.0
