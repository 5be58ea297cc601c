"""What each term of the joint objective counts: the configuration and how a term finds its weight. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dima_pipeline.plugins import config_dataclass, unknown
from dima_pipeline.surrogates import SURROGATES

DEFAULT_WEIGHTS: dict[str, float] = {
    "planning": 1.0,
    "teacher/vqa": 1.0,
    "teacher/trajectory_l1": 1.0,
    "surrogate": 1.0,
    "distillation/ego": 1.0,
    "distillation/agent": 0.0,
    "distillation/map": 0.0,
}
"""The paper gives none; the planner's own terms come ready-weighted, and all are of order one at the start. The paper
distils the ego features alone."""
DISTILLED_TOKENS = ("agent", "map")
GROUPS = ("planning", "teacher", "surrogate", "distillation")
FIXED_TERMS = {
    "teacher": ("teacher/vqa", "teacher/trajectory_l1"),
    "distillation": ("distillation/ego", *(f"distillation/{name}" for name in DISTILLED_TOKENS)),
}


def check_weights(weights: dict[str, float]) -> dict[str, float]:
    """``weights`` unchanged; ``ValueError`` naming the first key that cannot be a term or a group of terms.

    Names that only a planner or a surrogate task knows (``planning/agent_box``) are checked in the first step.
    """
    for name, weight in weights.items():
        group, _, rest = name.partition("/")
        if group not in GROUPS:
            raise ValueError(unknown("loss term", name, [*GROUPS, *DEFAULT_WEIGHTS], where="objective.weights"))
        if rest and group in FIXED_TERMS and name not in FIXED_TERMS[group]:
            raise ValueError(unknown("loss term", name, list(FIXED_TERMS[group]), where="objective.weights"))
        if rest and group == "surrogate" and "." not in rest and rest.split("/")[0] not in SURROGATES.names():
            known = [f"surrogate/{task}" for task in SURROGATES.names()]
            raise ValueError(unknown("loss term", name, known, where="objective.weights"))
        if not 0 <= weight < float("inf"):
            raise ValueError(f"objective.weights: {name} must be 0 or more, got {weight}")
    return weights


@config_dataclass
class ObjectiveConfig:
    """What each term counts, and how features are compared in distillation."""

    weights: Annotated[dict[str, float], AfterValidator(check_weights)] = Field(default_factory=dict)
    """By term (``teacher/vqa``) or group (``planning``, ``surrogate/scene_editing``); the most specific one counts,
    then ``DEFAULT_WEIGHTS``. ``distillation`` alone also sets the agents' and the map's, which are 0 else."""
    num_questions: int = Field(default=1, ge=1)
    """Questions a sample and step; the scene is read once for them all."""
    distillation: Literal["kl", "smooth_l1", "cosine"] = "kl"
    temperature: float = Field(default=1.0, gt=0)
    """Of the softmax over channels (kl only)."""
    teacher_ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay a step of an average of the teacher's weights, whose features are distilled in place of the teacher's own:
    steadier targets for one more pass a step and a copy of all that trains. 0: none."""


class Weights:
    """Weight of a term: the longest configured prefix of its name, else the longest default one."""

    def __init__(self, configured: Mapping[str, float]) -> None:
        self.configured = dict(configured)

    def __getitem__(self, term: str) -> float:
        for table in (self.configured, DEFAULT_WEIGHTS):
            found = [name for name in table if term == name or term.startswith(f"{name}/")]
            if found:
                return table[max(found, key=len)]
        return 0.0

    def asks_for(self, group: str) -> bool:
        """Whether any term of ``group`` can count."""
        return self[group] > 0 or any(w > 0 for name, w in self.configured.items() if name.startswith(f"{group}/"))

    def refuse_unknown(self, group: str, terms: Sequence[str]) -> None:
        """``ValueError`` for a configured name below ``group`` that is none of ``terms``."""
        for name in self.configured:
            if name.startswith(f"{group}/") and not any(f"{term}/".startswith(f"{name}/") for term in terms):
                raise ValueError(unknown("loss term", name, sorted(terms), where="objective.weights"))
