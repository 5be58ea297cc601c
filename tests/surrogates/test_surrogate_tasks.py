"""What each surrogate task of DiMA does to the scene, on cases with answers known by eye."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from dima_pipeline.surrogates import SURROGATES
from dima_pipeline.surrogates.scene_editing import edit_row, intrusion
from teaching_cases import BEV_SHAPE, TEACHER_DIM, TOKEN_DIM, make_answer, make_beam, make_known, make_pair

NUM_CELLS = BEV_SHAPE[0] * BEV_SHAPE[1]


def build(name: str, **options: object):
    torch.manual_seed(0)
    config = SURROGATES.parse({"name": name, **options})
    return SURROGATES.build(config, token_dim=TOKEN_DIM, teacher_dim=TEACHER_DIM, bev_shape=BEV_SHAPE)


class TestMaskedReconstruction:
    def test_between_a_fifth_and_two_fifths_of_the_cells_become_the_mask_vector(self) -> None:
        task, beam = build("masked_reconstruction"), make_beam(batch_size=200)
        asked = task.prepare(beam, make_known(200), torch.Generator().manual_seed(0))
        ratio = asked.valid.float().mean(1)
        assert ratio.min() >= 0.2 - 0.5 / NUM_CELLS and ratio.max() <= 0.4 + 0.5 / NUM_CELLS
        assert ratio.unique().numel() > 3, "the ratio is drawn for each sample"
        assert torch.equal(asked.beam.bev[asked.valid], task.mask_vector.expand(int(asked.valid.sum()), -1))
        assert torch.equal(asked.beam.bev[~asked.valid], beam.bev[~asked.valid])
        assert asked.beam.agent is beam.agent and asked.pairs is None

    def test_the_target_is_the_normalised_original_without_gradient(self) -> None:
        task, beam = build("masked_reconstruction"), make_beam()
        asked = task.prepare(beam, make_known(), torch.Generator().manual_seed(0))
        assert not asked.target.requires_grad
        assert torch.allclose(asked.target.mean(-1), torch.zeros(3, NUM_CELLS), atol=1e-5)
        assert torch.allclose(asked.target, functional.layer_norm(beam.bev, (TOKEN_DIM,)), atol=1e-6)

    def test_only_masked_cells_count(self) -> None:
        task = build("masked_reconstruction")
        asked = task.prepare(make_beam(), make_known(), torch.Generator().manual_seed(0))
        answer = make_answer()
        elsewhere = asked.target + 100.0 * ~asked.valid[..., None]
        there = asked.target + 100.0 * asked.valid[..., None]
        loss = task.losses(answer, asked)["reconstruction"]
        assert torch.equal(loss, task.losses(answer, replace(asked, target=elsewhere))["reconstruction"])
        assert task.losses(answer, replace(asked, target=there))["reconstruction"] > loss + 100

    def test_the_gradient_reaches_the_cells_that_are_shown_and_the_mask_vector(self) -> None:
        task, beam = build("masked_reconstruction"), make_beam()
        asked = task.prepare(beam, make_known(), torch.Generator().manual_seed(0))
        asked.beam.bev.square().sum().backward()
        assert (beam.bev.grad[asked.valid] == 0).all() and (beam.bev.grad[~asked.valid] != 0).any(-1).all()
        assert task.mask_vector.grad.abs().sum() > 0

    def test_a_minimum_above_the_maximum_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"min_ratio 0\.6 is above max_ratio 0\.4"):
            SURROGATES.parse({"name": "masked_reconstruction", "min_ratio": 0.6})


class TestFuturePrediction:
    def test_the_beam_is_shown_as_the_same_object_without_text(self) -> None:
        beam = make_beam()
        asked = build("future_prediction").prepare(beam, make_known(), torch.Generator())
        assert asked.beam is beam and asked.pairs is None

    def test_each_keyframe_ahead_has_its_term_and_missing_ones_do_not_count(self) -> None:
        task, known, answer = build("future_prediction"), make_known(), make_answer()
        asked = task.prepare(make_beam(), known, torch.Generator())
        changed = known.future_bev.clone()
        changed[-1, 1] = changed[-1, 1].flip(-1)  # the keyframe that is missing
        same = task.losses(answer, task.prepare(make_beam(), replace(known, future_bev=changed), torch.Generator()))
        before = task.losses(answer, asked)
        assert set(before) == {"t_plus_1", "t_plus_2"}
        assert before["t_plus_2"] == same["t_plus_2"]
        changed[0, 1] = changed[0, 1].flip(-1)
        other = task.losses(answer, task.prepare(make_beam(), replace(known, future_bev=changed), torch.Generator()))
        assert before["t_plus_2"] != other["t_plus_2"] and before["t_plus_1"] == other["t_plus_1"]

    def test_no_future_at_all_is_zero_with_a_zero_gradient(self) -> None:
        task, known, answer = build("future_prediction"), make_known(), make_answer()
        known = replace(known, future_valid=torch.zeros(3, 2, dtype=torch.bool))
        total = sum(task.losses(answer, task.prepare(make_beam(), known, torch.Generator())).values())
        total.backward()
        assert total == 0 and (answer.bev.grad == 0).all()

    def test_too_few_keyframes_in_the_batch_are_named(self) -> None:
        known = make_known()
        known = replace(known, future_bev=known.future_bev[:, :1], future_valid=known.future_valid[:, :1])
        with pytest.raises(ValueError, match="num_frames is 2, the batch holds 1"):
            build("future_prediction").prepare(make_beam(), known, torch.Generator())

    def test_more_keyframes_than_the_loader_supplies_are_refused_before_anything_trains(self) -> None:
        with pytest.raises(ValueError, match=r"num_frames[\s\S]*less than or equal to 2"):
            build("future_prediction", num_frames=3)


class TestSceneEditing:
    """In ``make_known``, sample 0 has a vehicle added, sample 1 one deleted, sample 2 is as it was."""

    def test_an_edit_appends_one_agent_that_is_valid_only_where_there_is_an_edit(self) -> None:
        beam = make_beam()
        asked = build("scene_editing").prepare(beam, make_known(), torch.Generator())
        assert asked.beam.agent.shape[1] == beam.agent.shape[1] + 1
        assert torch.equal(asked.beam.agent[:, :-1], beam.agent)
        assert asked.beam.agent_valid[:, -1].tolist() == [True, True, False]
        assert asked.beam.bev is beam.bev and asked.beam.ego is beam.ego

    def test_the_same_vehicle_added_and_deleted_gives_different_tokens(self) -> None:
        task, known = build("scene_editing"), make_known()
        swapped = replace(known, edits=replace(known.edits, kind=known.edits.kind[[1, 0, 2]]))
        first = task.prepare(make_beam(), known, torch.Generator()).beam.agent[0, -1]
        second = task.prepare(make_beam(), swapped, torch.Generator()).beam.agent[0, -1]
        assert not torch.allclose(first, second)

    def test_only_an_added_vehicle_can_be_hit(self) -> None:
        asked = build("scene_editing").prepare(make_beam(), make_known(), torch.Generator())
        assert asked.target.is_obstacle.any(1).tolist() == [True, False, False]
        assert asked.valid.any(1).tolist() == [True, True, False]

    def test_the_new_token_says_where_the_vehicle_is_if_the_others_do(self) -> None:
        task, beam, known = build("scene_editing"), make_beam(), make_known()
        assert task.prepare(beam, known, torch.Generator()).beam.agent_center is None
        placed = replace(beam, agent_center=torch.ones(3, 5, 2), map_center=torch.ones(3, 4, 2))
        centers = task.prepare(placed, known, torch.Generator()).beam.agent_center
        assert torch.equal(centers[:, 5], known.edits.box[:, :2]) and torch.equal(centers[:, :5], placed.agent_center)

    def test_the_question_is_that_of_the_edit_or_none(self) -> None:
        asked = build("scene_editing").prepare(make_beam(), make_known(), torch.Generator())
        assert asked.pairs == [make_pair(0), make_pair(1), None]

    def test_the_language_loss_of_the_edited_scene_is_a_term_of_its_own(self) -> None:
        task = build("scene_editing")
        asked = task.prepare(make_beam(), make_known(), torch.Generator())
        assert task.losses(make_answer(language_loss=torch.tensor(0.7)), asked)["language"] == pytest.approx(0.7)
        assert "language" not in task.losses(make_answer(), asked)

    def test_a_batch_without_edits_is_zero_with_a_zero_gradient(self) -> None:
        task, known, answer = build("scene_editing"), make_known(), make_answer()
        known = replace(known, edits=replace(known.edits, kind=torch.zeros(3, dtype=torch.long)))
        terms = task.losses(answer, task.prepare(make_beam(), known, torch.Generator()))
        sum(terms.values()).backward()
        assert all(value == 0 for value in terms.values()) and (answer.ego.grad == 0).all()

    def test_the_row_of_an_edit_reads_as_its_table(self) -> None:
        edits = make_known().edits
        box = torch.tensor([[15.0, -3.0, torch.pi / 2, 5.0, 2.0, 10.0, 0.0]]).repeat(3, 1)
        row = edit_row(replace(edits, box=box, category=torch.tensor([1, 1, 1])))
        assert row.shape == (3, 30)
        assert row[0, :8].tolist() == pytest.approx([0.5, -0.1, 1.0, 0.0, 1.0, 0.4, 1.0, 0.0], abs=1e-6)
        assert row[0, 20:].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]


class TestAgentMotion:
    def test_queries_in_any_order_are_matched_with_the_agents(self) -> None:
        task, known = build("agent_motion"), make_known()
        asked = task.prepare(make_beam(), known, torch.Generator())
        answer = make_answer()
        turned = replace(answer, agent=answer.agent.flip(1))
        first, second = task.losses(answer, asked), task.losses(turned, asked)
        assert first.keys() == {"agent_class", "agent_box", "agent_motion"}
        assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)

    def test_one_agent_and_one_query_is_the_plain_distance(self) -> None:
        task, known = build("agent_motion"), make_known(batch_size=1)
        valid = torch.zeros_like(known.targets.agent_valid)
        valid[0, 0] = True
        known = replace(known, targets=replace(known.targets, agent_valid=valid))
        answer = make_answer(batch_size=1)
        answer = replace(answer, agent=answer.agent[:, :1])
        terms = task.losses(answer, task.prepare(make_beam(batch_size=1), known, torch.Generator()))
        box = known.targets.agent_box[0, 0]
        at = torch.cat([box[None, :2], known.targets.agent_future[0, 0]])
        said = task.head.steps(task.read(answer.agent))[0, 0]
        is_known = known.targets.agent_future_valid[0, 0].tolist()
        errors = [
            float((said[t, i] - (at[t + 1, i] - at[t, i])).abs())
            for t in range(6)
            for i in range(2)
            if is_known[t] and (t == 0 or is_known[t - 1])
        ]
        assert terms["agent_motion"].item() == pytest.approx(sum(errors) / len(errors), abs=1e-5)


@pytest.mark.parametrize(
    ("obstacle_m", "expected_m"),
    [
        ((21.44, 0.0), 1.5),  # on the spot where the ego's centre is: aside is the shorter way
        ((24.24, 0.0), 0.2),  # 2.8 m ahead: 0.2 m back is enough
        ((24.54, 0.0), 0.0),  # 3.1 m ahead: far enough
        ((21.44, 1.4), 0.1),
        ((21.44, -1.6), 0.0),  # in the next lane
    ],
)
def test_intrusion_is_the_shorter_way_out(obstacle_m: tuple[float, float], expected_m: float) -> None:
    path = torch.tensor([[[20.0, 0.0]]])
    found = intrusion(path, torch.tensor([[obstacle_m]]), safe_ahead_m=3.0, safe_aside_m=1.5)
    assert found.item() == pytest.approx(expected_m, abs=5e-3)
