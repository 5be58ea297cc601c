"""Text generation for annotation: one protocol, two generators behind it, and a store of what was already answered.

A generator is a plug-in (``language.generators``): an instruction-tuned model at a local path, or an OpenAI-compatible
endpoint. Nothing is fetched, and nothing is sent anywhere that the configuration does not name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

REJECTED = "rejected"


class Message(NamedTuple):
    """One turn. There is no system role: the chat templates of many models know none."""

    role: Literal["user", "assistant"]
    text: str


Prompt = tuple[Message, ...]
"""Begins and ends with the user, whose turns alternate with the assistant's."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model answered to one prompt."""

    text: str
    finish: str = "stop"
    """``stop``, ``length`` (cut at ``max_tokens``), ``rejected`` (the prompt does not fit; ``text`` says why), or what
    else an endpoint says."""
    tokens_in: int | None = None
    """None where an endpoint does not tell."""
    tokens_out: int | None = None
    seconds: float = 0.0
    """From asking to answer, retries included; of its batch for a local model."""
    attempts: int = 1


class TextGenerator(Protocol):
    """What ``asking`` needs of a generator."""

    name: str
    """Of the model, as it stands in the source of a pair; no path."""
    identity: Mapping[str, Any]
    """Whatever changes an answer: model and settings, as JSON values. No secret, no address."""

    def replies(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        """Index and reply of each prompt, in the order of answering; each as soon as it is there.

        Raises ``ValueError`` where no answer can be had; replies that came before it have been yielded.
        """
