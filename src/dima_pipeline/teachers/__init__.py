"""Teachers: multimodal LLMs that read BEAM tokens through Q-Former adapters. A new one is one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

if TYPE_CHECKING:
    from dima_pipeline.contracts.batch import BeamTokens, VqaPair

TEACHERS = Family(__name__)
TeacherSpec = Annotated[Any, BeforeValidator(TEACHERS.parse)]


@dataclass(frozen=True, kw_only=True)
class TextBatch:
    """Tokenised pairs: ``input_ids``, ``labels`` (-100 where no loss falls) and ``attention_mask``, each (B, L)."""

    input_ids: Any
    labels: Any
    attention_mask: Any


class Teacher(Protocol):
    """A torch module; ``build(config, *, token_dim, feature_dim, texts)``.

    ``texts`` (a sequence of strings) trains a tokenizer where the configuration names no checkpoint. A teacher that can
    be sharded among workers (``runtime.parallel: fsdp``) also has ``prepare_for_sharding() -> list[nn.Module]``, one
    that can compute activations again has modules with ``checkpoint_gradients() -> None``.
    """

    hidden_dim: int

    def tokenize(self, pairs: Sequence[VqaPair | None]) -> TextBatch:
        """One pair a sample; None gives an empty row."""

    def forward(self, beam: BeamTokens, text: TextBatch | None) -> Any:
        """A ``surrogates.TeacherOutput``; ``text`` holds the same number of pairs for each sample, sample by sample."""

    def answer(self, beam: BeamTokens, questions: Sequence[str], max_new_tokens: int) -> list[str]:
        """Greedy answers, one a sample."""

    def trajectory_of(self, features: Any) -> Any:
        """The last layers after ``TeacherOutput.ego_features`` (B, F): a trajectory (B, T, 2)."""
