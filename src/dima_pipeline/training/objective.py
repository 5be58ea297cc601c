"""The joint objective of DiMA (arXiv 2501.09757, section 3.4) as named terms and one weighted ``total``.

L = L_planning + L_LLM + L_reconstruction + L_future + L_distillation, with scene editing beside them. A weight of 0
skips the forward pass that its term needs; without a teacher the same objective trains the planner alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from dima_pipeline.contracts.batch import BeamTokens, BevMemory, Plan, SceneWindow, TrainingBatch, VqaPair
from dima_pipeline.models.planning_losses import trajectory_l1
from dima_pipeline.models.tensors import map_arrays
from dima_pipeline.planners import Planner
from dima_pipeline.surrogates import SURROGATES, Privileged, SurrogateInput, TeacherOutput
from dima_pipeline.training.collapse import effective_rank
from dima_pipeline.training.distillation import TokenRegressors, WeightAverage, distance
from dima_pipeline.training.weights import DISTILLED_TOKENS, ObjectiveConfig, Weights, check_weights


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
        asked = self._distilled(Weights(self.config.weights))
        self.regressors = TokenRegressors([name for name in asked if name != "ego"], planner, teacher)
        decay = self.config.teacher_ema
        self.average = WeightAverage(self.teacher, decay) if self.teacher is not None and decay > 0 else None

    def after_step(self) -> None:
        """The optimiser has moved the weights: the teacher's average follows."""
        if self.average is not None:
            self.average.update(self.teacher)

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
        metrics = {"metric/bev_effective_rank": precisely(effective_rank, beam.bev)}
        distilled = self._distilled(weighing)
        plan: Plan | None = None
        if "ego" in distilled or weighing.asks_for("planning"):
            plan = self.planner.plan(beam, batch.window.current)
        if weighing.asks_for("planning"):
            found = precisely(self.planner.losses, beam, plan, batch.window.current, batch.targets)
            terms |= {f"planning/{name}": value for name, value in found.items()}
            weighing.refuse_unknown("planning", list(terms))
        if self.teacher is not None:
            asked = self._prepare(batch, beam, memory, generator, weighing)
            answer, measured = self._show_scene(batch, beam, asked, generator, weighing)
            metrics |= measured
            if answer is not None:
                terms |= self._teacher_terms(answer, batch, weighing)
            terms |= self._distillation_terms(distilled, answer, beam, plan)
            for task, question in asked.items():
                found, measured = self._task_terms(task, question, beam, answer, weighing)
                terms, metrics = terms | found, metrics | measured
        return {**terms, **metrics, "total": weighted_sum(terms, weighing)}

    def _distilled(self, weighing: Weights) -> list[str]:
        """Components whose features the teacher passes on."""
        names = ("ego", *DISTILLED_TOKENS) if self.teacher is not None else ()
        return [name for name in names if weighing[f"distillation/{name}"] > 0]

    def _distillation_terms(
        self, distilled: Sequence[str], answer: TeacherOutput | None, beam: BeamTokens, plan: Plan | None
    ) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if distilled and self.average is not None:
            answer = self.average.answer(self.teacher, beam, None)
        if "ego" in distilled:
            assert answer is not None and plan is not None
            terms["distillation/ego"] = precisely(distance, answer.ego_features, plan.features, self.config)
        for name in (name for name in distilled if name != "ego"):
            if name not in self.regressors:
                raise ValueError(f"distillation/{name} has a weight now, but had none when the model was built")
            terms[f"distillation/{name}"] = precisely(self.regressors.term, name, answer, beam, self.config)
        return terms

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
        if hasattr(self.teacher, "recall"):
            return self.teacher.recall(batch.sample_tokens, beam.bev.device), {}
        asks_questions = weighing["teacher/vqa"] > 0
        is_shared = any(is_unchanged(question, beam) for question in asked.values())
        passes_on = self.average is None and len(self._distilled(weighing)) > 0
        is_wanted = is_shared or passes_on or weighing["teacher/trajectory_l1"] > 0
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
            terms["teacher/trajectory_l1"] = precisely(trajectory_l1, answer.trajectory, batch.targets)
        return terms

    def _task_terms(
        self, task: str, asked: SurrogateInput, beam: BeamTokens, answer: TeacherOutput | None, weighing: Weights
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Terms and metrics of one surrogate task, from a pass of its own unless it left the scene unchanged."""
        assert self.teacher is not None
        if not is_unchanged(asked, beam):
            text = None if asked.pairs is None else self.teacher.tokenize(asked.pairs)
            answer = self.teacher(asked.beam, text)
        assert answer is not None
        module: Any = self.surrogates[self.tasks.index(task)]
        found = precisely(module.losses, answer, asked)
        terms = {f"surrogate/{task}/{name}": value for name, value in found.items()}
        weighing.refuse_unknown(f"surrogate/{task}", list(terms))
        measured = module.metrics(answer, asked) if hasattr(module, "metrics") else {}
        return terms, {f"metric/{task}/{name}": value for name, value in measured.items()}


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


def precisely(losses: Callable[..., Any], *arguments: Any) -> Any:
    """``losses`` of the arguments in float32 under ``autocast``, too: small differences are what a loss is about."""
    devices = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    if not devices:
        return losses(*arguments)
    with torch.autocast(devices[0], enabled=False):
        return losses(*(map_arrays(argument, _at_least_float32) for argument in arguments))


def _at_least_float32(leaf: Any) -> Any:
    return leaf.float() if leaf.dtype in (torch.bfloat16, torch.float16) else leaf


def choose_pairs(pairs: Sequence[Sequence[VqaPair]], generator: Generator) -> list[VqaPair | None]:
    """One pair each, all alike; None where there is none."""
    drawn = torch.rand(len(pairs), generator=generator, device=generator.device).tolist()
    return [own[int(share * len(own))] if own else None for own, share in zip(pairs, drawn, strict=True)]


def weighted_sum(terms: Mapping[str, Tensor], weighing: Weights) -> Float[Tensor, ""]:
    """The total; ``ValueError`` where no term counts."""
    counted = [weighing[name] * value for name, value in terms.items() if weighing[name] > 0]
    if not counted:
        raise ValueError("objective.weights leave nothing to minimise: all terms that are there weigh 0")
    return torch.stack(counted).sum()
