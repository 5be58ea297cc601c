"""What the proof on the small world changes and measures (``benchmarks/proof``): each does what its name says."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from proof import vectors_only
from proof.arms import shuffle_answers
from proof.looking import FAR_M, NEAR_M, chamfer, hide_map, map_distance, num_found
from proof.zeroed_teacher import build

from dima_pipeline.contracts.batch import empty_memory
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.planners import vad
from dima_pipeline.teachers import causal_lm
from planner_bundles import IMAGE_SIZE, fresh_planner
from scene_batches import make_scene_batch
from teaching_cases import FEATURE_DIM, TEXTS, TINY_TEACHER, TOKEN_DIM, make_beam
from training_cases import make_training_tables, vqa_row

places = st.floats(-5, 5, width=32)


def few_points(most: int) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, most).flatmap(lambda number: arrays(np.float32, (number, 2), elements=places))


@given(few_points(4), few_points(4))
def test_as_many_agents_are_found_as_the_best_assignment_finds(said, true):
    near = np.linalg.norm(said[:, None] - true[None], axis=-1) <= NEAR_M
    few, many = (near, near.T)[near.shape[0] > near.shape[1]], near.shape
    orders = permutations(range(max(many)), min(many))
    assert num_found(said, true) == max(sum(bool(few[row, at]) for row, at in enumerate(order)) for order in orders)


@given(arrays(np.float32, (3, 4, 2), elements=places), arrays(np.float32, (4, 2), elements=places))
def test_chamfer_is_the_mean_distance_to_the_nearest_point_both_ways(lines, true):
    for line, found in zip(lines, chamfer(lines, true), strict=True):
        there = [min(np.linalg.norm(p - q) for q in true) for p in line]
        back = [min(np.linalg.norm(p - q) for p in line) for q in true]
        assert found == pytest.approx((np.mean(there) + np.mean(back)) / 2, abs=1e-4)


def test_an_element_of_which_nothing_of_its_kind_was_said_is_far():
    line = np.zeros((1, 3, 2), np.float32)
    assert map_distance(line, np.array([1]), line[0], kind=1) == 0
    assert map_distance(line, np.array([1]), line[0], kind=0) == FAR_M
    assert map_distance(line + 100, np.array([1]), line[0], kind=1) == FAR_M


def test_a_training_question_gets_the_answer_to_the_same_question_in_another_scene():
    tables = make_training_tables()
    shuffled = shuffle_answers(tables, seed=0)
    speed = {"scene-0000": "It drives 4 m/s.", "scene-0001": "It drives 8 m/s.", "scene-0002": "It drives 6 m/s."}
    scene = shuffled.vqa_pairs["sample_token"].str[:10]
    is_train = scene != "scene-0002"
    assert (shuffled.vqa_pairs["answer"] != scene.map(speed))[is_train].all()
    assert set(shuffled.vqa_pairs["answer"][is_train]) == {speed["scene-0000"], speed["scene-0001"]}
    assert (shuffled.vqa_pairs["answer"] == scene.map(speed))[~is_train].all(), "what is held out stays"
    pd.testing.assert_frame_equal(shuffled.vqa_pairs.drop(columns="answer"), tables.vqa_pairs.drop(columns="answer"))


def test_a_question_that_no_other_scene_was_asked_gets_an_answer_of_its_category():
    tables = make_training_tables()
    alone = {**vqa_row("scene-0000-000", "only here"), "question": "What is only here?"}
    tables = replace(tables, vqa_pairs=pd.concat([tables.vqa_pairs, pd.DataFrame([alone])], ignore_index=True))
    other = {**alone, **vqa_row("scene-0001-000", "only there"), "question": "What is only there?"}
    tables = replace(tables, vqa_pairs=pd.concat([tables.vqa_pairs, pd.DataFrame([other])], ignore_index=True))
    answers = shuffle_answers(tables, seed=0).vqa_pairs.set_index("question")["answer"]
    assert answers["What is only here?"] == "only there" and answers["What is only there?"] == "only here"


@pytest.mark.parametrize("name", ["vad", "vad_of_vectors"])
def test_a_plan_with_a_hidden_map_does_not_depend_on_the_map(name):
    planner = fresh_planner(name).eval()
    batch = to_tensors(make_scene_batch(np.random.default_rng(0), 2, IMAGE_SIZE))
    with torch.no_grad():
        beam, _ = planner.encode(batch, to_tensors(empty_memory(2, planner.num_bev_cells, planner.token_dim)))
        other = replace(beam, map=beam.map + torch.randn_like(beam.map))
        plans = [planner.plan(hide_map(planner, each), batch).features for each in (beam, other)]
        plain = planner.plan(beam, batch).features
    assert torch.equal(*plans)
    assert not torch.allclose(plans[0], plain, atol=1e-4)


def test_an_ego_of_vectors_only_begins_as_the_other_one_and_sees_no_more_of_the_bev_than_they_do():
    planners = []
    for module in (vad.build, vectors_only.build):
        torch.manual_seed(0)
        planners.append(module(vad.Config(), image_size=IMAGE_SIZE))
    plain, without = planners
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in without.state_dict().items())
    bev, others = torch.randn(2, 2, plain.num_bev_cells, plain.token_dim), torch.randn(2, 1, 8, plain.token_dim)
    agent, map_ = others
    with torch.no_grad():
        seen = [[planner.ego(cells[:1], agent, map_) for cells in bev] for planner in planners]
        moved = without.ego(bev[0][:1], agent, -map_)
    assert not torch.allclose(*seen[0], atol=1e-4)
    assert torch.equal(*seen[1])
    assert not torch.allclose(seen[1][0], moved, atol=1e-4)


def test_a_zeroed_teacher_begins_as_the_other_one_and_is_shown_the_same_for_every_scene():
    config = {key: value for key, value in TINY_TEACHER.items() if key != "name"}
    teachers = []
    for module in (causal_lm.build, build):
        torch.manual_seed(0)
        dims = {"token_dim": TOKEN_DIM, "feature_dim": FEATURE_DIM}
        teachers.append(module(causal_lm.Config(**config), texts=TEXTS, **dims))
    plain, zeroed = teachers
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), zeroed.parameters(), strict=True))
    with torch.no_grad():
        seen = [[teacher.embed_scene(make_beam(seed))[0] for seed in (0, 1)] for teacher in teachers]
    assert not torch.equal(*seen[0]) and torch.equal(*seen[1])
