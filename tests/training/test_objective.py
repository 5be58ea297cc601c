"""The joint objective: names, weights, which passes are made, who gets gradients, and that each term can be learned."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from dima_pipeline.planners import PLANNERS
from dima_pipeline.surrogates import SURROGATES
from dima_pipeline.training.distillation import distance
from dima_pipeline.training.objective import (
    JointObjective,
    choose_pairs,
    foresee,
    precisely,
    remember,
)
from dima_pipeline.training.weights import ObjectiveConfig, Weights
from teaching_cases import (
    IMAGE_SIZE,
    TINY_PLANNER,
    make_beam,
    make_pair,
    make_training_batch,
    tiny_teacher,
)

PLANNING = (
    "planning/agent_box",
    "planning/agent_class",
    "planning/agent_motion",
    "planning/collision",
    "planning/map_class",
    "planning/map_points",
    "planning/trajectory_l1",
)
OTHERS = (
    "distillation/ego",
    "surrogate/agent_motion/agent_box",
    "surrogate/agent_motion/agent_class",
    "surrogate/agent_motion/agent_motion",
    "surrogate/future_prediction/t_plus_1",
    "surrogate/future_prediction/t_plus_2",
    "surrogate/masked_reconstruction/reconstruction",
    "surrogate/scene_editing/collision",
    "surrogate/scene_editing/language",
    "surrogate/scene_editing/trajectory_l1",
    "teacher/trajectory_l1",
    "teacher/vqa",
)
TOKENS = ("distillation/agent", "distillation/map")
METRICS = (
    "metric/answer_token_accuracy",
    "metric/bev_effective_rank",
    "metric/masked_reconstruction/mask_norm",
    "metric/masked_reconstruction/masked_share",
    "metric/masked_reconstruction/spread",
)
OFF = {"planning": 0.0, "teacher": 0.0, "surrogate": 0.0, "distillation": 0.0}
BATCH = make_training_batch()


def make_planner() -> Any:
    torch.manual_seed(0)
    return PLANNERS.build(PLANNERS.parse(TINY_PLANNER), image_size=IMAGE_SIZE)


def make_objective(with_teacher: bool = True, **config: Any) -> JointObjective:
    planner = make_planner()
    if not with_teacher:
        return JointObjective(planner, None, (), ObjectiveConfig(**config))
    teacher = tiny_teacher()
    shape = {"token_dim": planner.token_dim, "teacher_dim": teacher.hidden_dim, "bev_shape": planner.bev_shape}
    surrogates = [SURROGATES.build(SURROGATES.parse(name), **shape) for name in SURROGATES.names()]
    return JointObjective(planner, teacher, surrogates, ObjectiveConfig(**config))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def only(term: str) -> dict[str, float]:
    return {**OFF, term: 1.0}


class Calls:
    """Counts how often the planner encodes and the teacher looks."""

    def __init__(self, objective: JointObjective, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count: Counter[str] = Counter()
        for owner, name in ((objective.planner, "encode"), (objective.planner, "plan"), (objective.planner, "losses")):
            monkeypatch.setattr(owner, name, self._counted(name, getattr(owner, name)))
        if objective.teacher is not None:
            monkeypatch.setattr(objective.teacher, "forward", self._counted("teacher", objective.teacher.forward))
            monkeypatch.setattr(objective.teacher, "tokenize", self._counted("tokenize", objective.teacher.tokenize))

    def _counted(self, name: str, function: Any) -> Any:
        def call(*args: Any) -> Any:
            self.count[name] += 1
            return function(*args)

        return call


class TestTerms:
    def test_all_terms_are_named_scalars_of_zero_or_more_and_total_is_their_weighted_sum(self) -> None:
        terms = make_objective(weights={"planning/map_class": 0.5})(BATCH, generator())
        terms = {name: value.detach() for name, value in terms.items()}
        assert set(terms) == {*PLANNING, *OTHERS, *METRICS, "total"}
        assert all(value.shape == () and value.isfinite() and value >= 0 for value in terms.values())
        expected = sum(float(terms[name]) for name in (*PLANNING, *OTHERS)) - 0.5 * float(terms["planning/map_class"])
        assert float(terms["total"]) == pytest.approx(expected, rel=1e-5)

    def test_without_a_teacher_only_planning_is_there(self) -> None:
        assert set(make_objective(with_teacher=False)(BATCH, generator())) == {
            *PLANNING,
            "total",
            "metric/bev_effective_rank",
        }

    def test_the_generator_decides_all_that_is_random(self) -> None:
        objective = make_objective()
        first, again = objective(BATCH, generator()), objective(BATCH, generator())
        other = objective(BATCH, torch.Generator().manual_seed(6))
        assert all(torch.equal(first[name], again[name]) for name in first)
        masked = "surrogate/masked_reconstruction/reconstruction"
        assert first[masked] != other[masked] and first["teacher/vqa"] != other["teacher/vqa"]
        assert first["planning/agent_class"] == other["planning/agent_class"]

    def test_surrogates_without_a_teacher_and_twice_the_same_task_are_refused(self) -> None:
        objective = make_objective()
        with pytest.raises(ValueError, match="ask a teacher"):
            JointObjective(objective.planner, None, list(objective.surrogates))
        with pytest.raises(ValueError, match="once"):
            JointObjective(objective.planner, objective.teacher, [objective.surrogates[0], objective.surrogates[0]])


class TestWeights:
    def test_the_longest_configured_prefix_counts_then_the_default(self) -> None:
        weights = Weights({"surrogate": 0.5, "surrogate/scene_editing": 0.0, "surrogate/scene_editing/language": 2.0})
        assert weights["surrogate/scene_editing/language"] == 2.0
        assert weights["surrogate/scene_editing/collision"] == 0.0
        assert weights["surrogate/future_prediction/t_plus_1"] == 0.5
        assert weights["planning/agent_box"] == 1.0 and Weights({"teacher": 0.0})["teacher/vqa"] == 0.0
        assert weights.asks_for("surrogate/scene_editing") and not Weights(OFF).asks_for("surrogate/scene_editing")

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("planing", "did you mean 'planning'"),
            ("teacher/vqas", "did you mean 'teacher/vqa'"),
            ("distillation/agents", "did you mean 'distillation/agent'"),
            ("surrogate/scene_edit", "did you mean 'surrogate/scene_editing'"),
        ],
    )
    def test_an_unknown_term_is_refused_by_name_before_anything_runs(self, name: str, hint: str) -> None:
        with pytest.raises(ValueError, match=f"(?s){name}.*{hint}"):
            ObjectiveConfig(weights={name: 1.0})

    @pytest.mark.parametrize("name", ["planning/agent_boxes", "surrogate/scene_editing/colision"])
    def test_a_term_that_only_the_model_can_know_is_refused_in_the_first_step(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name}.*did you mean"):
            make_objective(weights={name: 1.0})(BATCH, generator())

    def test_a_negative_weight_is_refused(self) -> None:
        with pytest.raises(ValueError, match="planning must be 0 or more"):
            ObjectiveConfig(weights={"planning": -1.0})

    def test_nothing_left_to_minimise_is_said(self) -> None:
        with pytest.raises(ValueError, match="nothing to minimise"):
            make_objective(weights=OFF)(BATCH, generator())


class TestPasses:
    @pytest.mark.parametrize(
        ("weights", "expected"),
        [
            ({}, {"encode": 4, "plan": 1, "losses": 1, "teacher": 3, "tokenize": 2}),
            ({"teacher": 0, "surrogate": 0, "distillation": 0}, {"encode": 2, "plan": 1, "losses": 1}),
            (only("teacher/vqa"), {"encode": 2, "teacher": 1, "tokenize": 1}),
            (only("teacher/trajectory_l1"), {"encode": 2, "teacher": 1}),
            (only("distillation/ego"), {"encode": 2, "plan": 1, "teacher": 1}),
            (only("distillation/agent"), {"encode": 2, "teacher": 1}),
            (only("surrogate/agent_motion"), {"encode": 2, "teacher": 1}),
            (only("surrogate/future_prediction"), {"encode": 4, "teacher": 1}),
            (only("surrogate/masked_reconstruction"), {"encode": 2, "teacher": 1}),
            (only("surrogate/scene_editing/collision"), {"encode": 2, "teacher": 1, "tokenize": 1}),
        ],
    )
    def test_a_weight_of_zero_skips_the_passes_that_only_it_needs(
        self, weights: dict[str, float], expected: dict[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        objective = make_objective(weights=weights)
        calls = Calls(objective, monkeypatch)
        objective(BATCH, generator())
        assert calls.count == expected

    def test_weights_given_to_the_call_replace_those_of_the_configuration(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        objective = make_objective(weights=only("teacher/vqa"))
        calls = Calls(objective, monkeypatch)
        assert set(objective(BATCH, generator(), only("planning"))) == {*PLANNING, "total", "metric/bev_effective_rank"}
        assert calls.count["teacher"] == 0

    def test_future_keyframes_that_were_not_read_are_missed_by_name(self) -> None:
        window = replace(BATCH.window, future=(), future_valid=torch.zeros(8, 0, dtype=torch.bool))
        with pytest.raises(ValueError, match="num_future = 0"):
            make_objective()(replace(BATCH, window=window), generator())


class TestMemory:
    def test_a_missing_past_keyframe_leaves_no_memory(self) -> None:
        memory = remember(make_planner(), BATCH.window)
        assert memory.is_valid.tolist() == [False] + [True] * 7
        assert not memory.bev.requires_grad

    def test_the_last_past_keyframe_that_is_there_is_remembered_after_earlier_gaps(self) -> None:
        planner = make_planner()
        past = (BATCH.window.future[0], *BATCH.window.past)
        gap = torch.tensor([[False, True]]).expand(8, -1)
        window = replace(BATCH.window, past=past, past_valid=gap)
        alone = replace(BATCH.window, past_valid=torch.ones(8, 1, dtype=torch.bool))
        assert torch.allclose(remember(planner, window).bev, remember(planner, alone).bev, atol=1e-6)

    def test_the_future_is_encoded_in_a_chain_without_gradient(self) -> None:
        planner = make_planner()
        _, memory = planner.encode(BATCH.window.current, remember(planner, BATCH.window))
        future = foresee(planner, BATCH.window, memory)
        assert future.shape == (8, 2, planner.num_bev_cells, planner.token_dim) and not future.requires_grad
        first, after = planner.encode(BATCH.window.future[0], memory)
        second, _ = planner.encode(BATCH.window.future[1], after)
        assert torch.allclose(future[:, 0], first.bev, atol=1e-6)
        assert torch.allclose(future[:-1, 1], second.bev[:-1], atol=1e-6)
        assert not torch.allclose(future[-1, 1], second.bev[-1], atol=1e-3), "t+1 of the last sample is missing"


class TestGradients:
    @pytest.mark.parametrize("term", OTHERS)
    def test_every_term_of_teacher_and_tasks_reaches_the_image_backbone(self, term: str) -> None:
        objective = make_objective(weights=only(term))
        objective(BATCH, generator())["total"].backward()
        weight = next(objective.planner.backbone.parameters())
        assert weight.grad is not None and weight.grad.abs().sum() > 0

    def test_distillation_teaches_the_planner_and_not_the_teacher(self) -> None:
        objective = make_objective(weights=only("distillation/ego"))
        objective(BATCH, generator())["total"].backward()
        assert all(p.grad is None for p in objective.teacher.parameters())
        assert any(p.grad is not None for p in objective.planner.trajectory_head.features.parameters())


class TestDistillation:
    TEACHER = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

    @pytest.mark.parametrize("kind", ["kl", "smooth_l1", "cosine"])
    def test_equal_features_have_no_distance_and_others_do(self, kind: str) -> None:
        config = ObjectiveConfig(distillation=kind)
        assert distance(self.TEACHER, self.TEACHER.clone(), config) == pytest.approx(0, abs=1e-6)
        assert distance(self.TEACHER, -self.TEACHER, config) > 0.1

    def test_kl_is_that_of_the_teacher_from_the_planner(self) -> None:
        planner = torch.zeros(1, 2)
        teacher = torch.tensor([[3.0, 1.0]]).log()
        found = distance(teacher, planner, ObjectiveConfig())
        expected = 0.75 * torch.tensor(0.75 / 0.5).log() + 0.25 * torch.tensor(0.25 / 0.5).log()
        assert found.item() == pytest.approx(float(expected), rel=1e-5)

    def test_temperature_softens_and_its_square_keeps_the_scale(self) -> None:
        planner = torch.zeros(2, 3)
        hot = distance(self.TEACHER, planner, ObjectiveConfig(temperature=100.0))
        assert hot.item() == pytest.approx(float(self.TEACHER.var(1, unbiased=False).mean() / 2), rel=0.05)


class TestQuestions:
    def test_every_pair_of_a_sample_comes_up_alike(self) -> None:
        pairs = [[make_pair(0, "planning"), *(make_pair(i, "perception") for i in range(3))]] * 400
        chosen = Counter(pair.category for pair in choose_pairs(pairs, generator()) if pair)
        assert 70 < chosen["planning"] < 130 and chosen["planning"] + chosen["perception"] == 400

    def test_several_questions_a_sample_cost_one_look_at_the_scene(self) -> None:
        batch = make_training_batch(batch_size=2)
        objective = make_objective(num_questions=3)
        shown = []
        embed = objective.teacher.embed_scene
        objective.teacher.embed_scene = lambda beam: shown.append(len(beam.ego)) or embed(beam)
        weights = {"planning": 0.0, "surrogate": 0.0, "distillation": 0.0, "teacher/trajectory_l1": 0.0}
        assert objective(batch, generator(), weights)["teacher/vqa"] > 0
        assert shown == [2]

    def test_a_sample_without_questions_has_none_and_shifts_no_other(self) -> None:
        pairs = [[make_pair(i, "planning"), make_pair(i + 1, "behavior")] for i in range(6)]
        full = choose_pairs(pairs, generator())
        pairs[2] = []
        assert choose_pairs(pairs, generator()) == [*full[:2], None, *full[3:]]


@pytest.mark.parametrize("term", [*PLANNING, *OTHERS, *TOKENS])
def test_each_term_alone_falls_below_a_tenth_of_its_start_on_eight_samples(term: str) -> None:
    weights = only(term)
    if term == "surrogate/agent_motion/agent_motion":
        # Its queries are matched by boxes: where nothing moves them, who is whose changes from step to step.
        weights["surrogate/agent_motion/agent_box"] = 0.1
    objective = make_objective(weights=weights)
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 2e-3)
    values: list[float] = []
    while len(values) < 400 and min(values, default=1.0) >= 0.1 * max(values[:1], default=0.0):
        terms = objective(BATCH, generator())
        values.append(terms[term].item())
        optimizer.zero_grad()
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()
    assert values[0] > 0 and values[-1] < 0.1 * values[0], (term, values[0], values[-1])


def test_losses_are_computed_in_float32_outside_of_autocast():
    seen = []

    def losses(beam, number):
        seen.append((beam.bev.dtype, beam.agent_valid.dtype, number, torch.is_autocast_enabled("cpu")))
        return beam.bev @ beam.bev.mT

    beam = make_beam()
    half = replace(beam, bev=beam.bev.detach().to(torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        assert precisely(losses, half, 3).dtype == torch.float32
    assert seen == [(torch.float32, torch.bool, 3, False)]
    assert precisely(lambda same: same is beam, beam)
