"""The joint objective of DiMA (arXiv 2501.09757, section 3.4) as named terms and one weighted ``total``.

L = L_planning + L_LLM + L_reconstruction + L_future + L_distillation, with scene editing beside them. A weight of 0
skips the forward pass that its term needs; without a teacher the same objective trains the planner alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional

from dima_pipeline.contracts.batch import BeamTokens, BevMemory, Plan, SceneWindow, TrainingBatch, VqaPair
from dima_pipeline.models.planning_losses import trajectory_l1
from dima_pipeline.planners import Planner
from dima_pipeline.surrogates import SURROGATES, Privileged, SurrogateInput, TeacherOutput
from dima_pipeline.training.weights import ObjectiveConfig, Weights, check_weights


class JointObjective(nn.Module):
    """Planner, optional teacher and surrogate tasks, trained together; see the module.

    ``surrogates`` are members of the family ``SURROGATES``, named by their modules.
    """

    def __init__(
        self,
        planner: Any,
        teacher: Any | None = None,
        surrogates: Sequence[nn.Module] = (),
        config: ObjectiveConfig | None = None,
    ) -> None:
        super().__init__()
        self.planner: Any = planner
        self.teacher: Any = teacher
        self.surrogates = nn.ModuleList(surrogates)
        self.config = config or ObjectiveConfig()
        self.tasks = tuple(type(module).__module__.removeprefix(f"{SURROGATES.package}.") for module in surrogates)
        if surrogates and teacher is None:
            raise ValueError(f"the surrogate tasks {list(self.tasks)} ask a teacher, but there is none")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"each surrogate task may be there once, got {list(self.tasks)}")

    def forward(
        self, batch: TrainingBatch, generator: Generator, weights: Mapping[str, float] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Scalar terms by name and their weighted sum ``total``; ``metric/...`` entries are no losses.

        ``batch`` holds tensors. ``generator`` draws questions and masks: its state decides all that is random.
        ``weights`` replaces those of the configuration. Raises ``ValueError`` for an unknown term, by name, and where
        nothing is left to minimise.
        """
        weighing = Weights(self.config.weights if weights is None else check_weights(dict(weights)))
        memory = remember(self.planner, batch.window)
        beam, memory = self.planner.encode(batch.window.current, memory)
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        is_distilled = self.teacher is not None and weighing.asks_for("distillation/ego")
        plan: Plan | None = None
        if is_distilled or weighing.asks_for("planning"):
            plan = self.planner.plan(beam, batch.window.current)
        if weighing.asks_for("planning"):
            found = self.planner.losses(beam, plan, batch.window.current, batch.targets)
            terms |= {f"planning/{name}": value for name, value in found.items()}
            weighing.refuse_unknown("planning", list(terms))
        if self.teacher is not None:
            asked = self._prepare(batch, beam, memory, generator, weighing)
            answer, metrics = self._show_scene(batch, beam, asked, generator, weighing)
            if answer is not None:
                terms |= self._teacher_terms(answer, batch, weighing)
            if is_distilled:
                assert answer is not None and plan is not None
                terms["distillation/ego"] = distillation(answer.ego_features, plan.features, self.config)
            for task, question in asked.items():
                terms |= self._task_terms(task, question, beam, answer, weighing)
        return {**terms, **metrics, "total": weighted_sum(terms, weighing)}

    def _prepare(
        self, batch: TrainingBatch, beam: BeamTokens, memory: BevMemory, generator: Generator, weighing: Weights
    ) -> dict[str, SurrogateInput]:
        """What each task with a weight shows the teacher."""
        active: dict[str, Any] = {
            task: module
            for task, module in zip(self.tasks, self.surrogates, strict=True)
            if weighing.asks_for(f"surrogate/{task}")
        }
        future = None
        if any(module.needs_future for module in active.values()):
            future = foresee(self.planner, batch.window, memory)
        known = Privileged(
            targets=batch.targets,
            edits=batch.edits,
            edit_pairs=batch.edit_pairs,
            future_bev=future,
            future_valid=batch.window.future_valid,
        )
        return {task: module.prepare(beam, known, generator) for task, module in active.items()}

    def _show_scene(
        self,
        batch: TrainingBatch,
        beam: BeamTokens,
        asked: Mapping[str, SurrogateInput],
        generator: Generator,
        weighing: Weights,
    ) -> tuple[TeacherOutput | None, dict[str, Tensor]]:
        """The pass over the unchanged scene, shared by all that can use it; None where nobody does."""
        assert self.teacher is not None
        asks_questions = weighing["teacher/vqa"] > 0
        is_shared = any(is_unchanged(question, beam) for question in asked.values())
        is_wanted = is_shared or any(weighing[t] > 0 for t in ("teacher/trajectory_l1", "distillation/ego"))
        if not asks_questions and not is_wanted:
            return None, {}
        asking = [own for own in batch.pairs for _ in range(self.config.num_questions)]
        text = self.teacher.tokenize(choose_pairs(asking, generator)) if asks_questions else None
        answer = self.teacher(beam, text)
        accuracy = answer.language_accuracy
        return answer, {} if accuracy is None else {"metric/answer_token_accuracy": accuracy}

    def _teacher_terms(self, answer: TeacherOutput, batch: TrainingBatch, weighing: Weights) -> dict[str, Tensor]:
        terms = {}
        if answer.language_loss is not None:
            terms["teacher/vqa"] = answer.language_loss
        if weighing["teacher/trajectory_l1"] > 0:
            terms["teacher/trajectory_l1"] = trajectory_l1(answer.trajectory, batch.targets)
        return terms

    def _task_terms(
        self, task: str, asked: SurrogateInput, beam: BeamTokens, answer: TeacherOutput | None, weighing: Weights
    ) -> dict[str, Tensor]:
        """Terms of one surrogate task, from a pass of its own unless it left the scene unchanged."""
        assert self.teacher is not None
        if not is_unchanged(asked, beam):
            text = None if asked.pairs is None else self.teacher.tokenize(asked.pairs)
            answer = self.teacher(asked.beam, text)
        assert answer is not None
        module: Any = self.surrogates[self.tasks.index(task)]
        terms = {f"surrogate/{task}/{name}": value for name, value in module.losses(answer, asked).items()}
        weighing.refuse_unknown(f"surrogate/{task}", list(terms))
        return terms


def is_unchanged(asked: SurrogateInput, beam: BeamTokens) -> bool:
    """Whether the pass over ``beam`` itself answers a task."""
    return asked.beam is beam and asked.pairs is None


@torch.no_grad()
def remember(planner: Planner, window: SceneWindow) -> BevMemory:
    """The memory after the past keyframes, without gradient; not valid where the last of them is missing."""
    batch_size, device = len(window.current.command), window.current.command.device
    memory = BevMemory(
        bev=torch.zeros(batch_size, planner.num_bev_cells, planner.token_dim, device=device),
        is_valid=torch.zeros(batch_size, dtype=torch.bool, device=device),
    )
    for frame, is_there in zip(window.past, window.past_valid.unbind(1), strict=True):
        _, memory = planner.encode(frame, memory)
        memory = BevMemory(bev=memory.bev, is_valid=is_there)
    return memory


@torch.no_grad()
def foresee(planner: Planner, window: SceneWindow, memory: BevMemory) -> Float[Tensor, "B N Q D"]:
    """BEV tokens of the future keyframes, the memory carried on from the present one, without gradient.

    Raises ``ValueError`` where the batch was read without future keyframes.
    """
    if not window.future:
        raise ValueError("a surrogate task needs future keyframes, but the batch was read without (num_future = 0)")
    memory = BevMemory(bev=memory.bev.detach(), is_valid=memory.is_valid)
    found = []
    for frame, is_there in zip(window.future, window.future_valid.unbind(1), strict=True):
        beam, memory = planner.encode(frame, memory)
        memory = BevMemory(bev=memory.bev, is_valid=is_there)
        found.append(beam.bev)
    return torch.stack(found, 1)


def choose_pairs(pairs: Sequence[Sequence[VqaPair]], generator: Generator) -> list[VqaPair | None]:
    """One pair each, all alike; None where there is none."""
    drawn = torch.rand(len(pairs), generator=generator, device=generator.device).tolist()
    return [own[int(share * len(own))] if own else None for own, share in zip(pairs, drawn, strict=True)]


def distillation(
    teacher: Float[Tensor, "B F"], planner: Float[Tensor, "B F"], config: ObjectiveConfig
) -> Float[Tensor, ""]:
    """How far the planner's penultimate ego features are from the teacher's, which get no gradient from here.

    ``kl``: D(P_llm || P_vis) of softmax distributions over channels (the paper's), times the squared temperature.
    """
    teacher = teacher.detach()
    if config.distillation == "smooth_l1":
        return functional.smooth_l1_loss(planner, teacher)
    if config.distillation == "cosine":
        return (1 - functional.cosine_similarity(planner, teacher, dim=-1)).mean()
    tau = config.temperature
    log_vis, log_llm = functional.log_softmax(planner / tau, -1), functional.log_softmax(teacher / tau, -1)
    # Rounding can push the divergence of equal distributions just below zero.
    return functional.kl_div(log_vis, log_llm, reduction="batchmean", log_target=True).clamp(min=0) * tau**2


def weighted_sum(terms: Mapping[str, Tensor], weighing: Weights) -> Float[Tensor, ""]:
    """The total; ``ValueError`` where no term counts."""
    counted = [weighing[name] * value for name, value in terms.items() if weighing[name] > 0]
    if not counted:
        raise ValueError("objective.weights leave nothing to minimise: all terms that are there weigh 0")
    return torch.stack(counted).sum()
