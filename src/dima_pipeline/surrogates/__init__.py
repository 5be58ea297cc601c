"""Surrogate tasks: what the teacher is asked besides questions. A new one is one file with ``Config`` and ``build``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

if TYPE_CHECKING:
    from dima_pipeline.contracts.batch import BeamTokens, SceneEdits, SceneTargets, VqaPair

SURROGATES = Family(__name__)
SurrogateSpec = Annotated[Any, BeforeValidator(SURROGATES.parse)]


@dataclass(frozen=True, kw_only=True)
class TeacherOutput:
    """Penultimate-layer features of the LLM at its scene positions, and what its own heads say.

    ``bev`` (B, Kb, H), ``ego`` (B, 1, H), ``agent`` (B, Ka, H), ``map`` (B, Km, H): H the width of the LLM, K* the
    fixed number of Q-Former queries of each component. ``trajectory`` (B, T, 2) is the teacher's own plan,
    ``ego_features`` (B, F) the ego feature projected to the planner's width (what distillation compares).
    ``language_loss`` is the mean cross-entropy of the answer tokens, or None without text; ``language_accuracy`` the
    share of them that the teacher ranks first, without gradient.
    """

    bev: Any
    ego: Any
    agent: Any
    map: Any
    trajectory: Any
    ego_features: Any
    language_loss: Any | None
    language_accuracy: Any | None = None


@dataclass(frozen=True, kw_only=True)
class Privileged:
    """What only training knows, for surrogate tasks to draw targets from."""

    targets: SceneTargets
    edits: SceneEdits
    edit_pairs: tuple[tuple[VqaPair, ...], ...]
    future_bev: Any
    """BEV tokens of t+1 and t+2, without gradient: (B, N, Q, D), or None where no task asked for them."""
    future_valid: Any
    """(B, N) bool."""


@dataclass(frozen=True, kw_only=True)
class SurrogateInput:
    """What the teacher is shown for a task: the scene tokens, perhaps a question, and what it must come up with."""

    beam: BeamTokens
    """The beam itself (the same object) where the task changes nothing: then the forward pass is shared."""
    pairs: Sequence[VqaPair | None] | None
    target: Any
    valid: Any


class Surrogate(Protocol):
    """A torch module; ``build(config, *, token_dim, teacher_dim, bev_shape)``.

    ``needs_future`` says whether ``Privileged.future_bev`` must be there. One with ``metrics(answer, asked)``, named
    scalars without gradient, has them logged beside its losses.
    """

    needs_future: bool

    def prepare(self, beam: BeamTokens, known: Privileged, generator: Any) -> SurrogateInput:
        """Change a copy of the beam; never the beam itself. ``generator`` is a ``torch.Generator``."""

    def losses(self, answer: TeacherOutput, asked: SurrogateInput) -> dict[str, Any]:
        """Named scalar terms >= 0."""
