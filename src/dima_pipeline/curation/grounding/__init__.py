"""Every statement that can be counted or measured is read back and weighed against the tables.

What a sentence claims is found by what its words mean, not by the form of a template, and no code is shared with the
annotators: a slip in a rule, in an import, by an LLM or by a person shows up as ``failed`` with a reason.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.curation.grounding.dialogue import Dialogue
from dima_pipeline.curation.grounding.evidence import Evidences
from dima_pipeline.curation.grounding.tolerances import MAX_CHARACTERS, tolerance_of
from dima_pipeline.curation.grounding.truth import Claim


class Verdict(NamedTuple):
    """What became of a pair: ``check`` is passed, failed or unchecked; ``reason`` says why it failed."""

    check: str
    reason: str | None
    claim: str
    """Kind of the claim that failed, else of the first that passed; empty where nothing could be weighed."""


def check_pairs(pairs: Iterable[VqaPair], tables: Any) -> Iterator[Verdict]:
    """A verdict for every pair, in their order. ``tables`` as ``datasets.SceneTables``.

    A pair fails with its first contradiction, passes if something in it could be weighed, else is unchecked.
    """
    evidences = Evidences(tables)
    return (verdict_of(claims_of(pair, evidences)) for pair in pairs)


def claims_of(pair: VqaPair, evidences: Evidences) -> list[Claim]:
    """All that a pair claims, weighed; nothing for a keyframe that the tables do not have, or for very long text."""
    if len(pair.question) + len(pair.answer) > MAX_CHARACTERS or not evidences.has(pair.sample_token):
        return []
    return list(Dialogue(pair, evidences[pair.sample_token], tolerance_of(pair.source)).claims())


def verdict_of(claims: list[Claim]) -> Verdict:
    """The verdict on a pair with these claims."""
    failed = next((claim for claim in claims if claim.truth is False), None)
    if failed is not None:
        return Verdict("failed", failed.reason, failed.kind)
    passed = next((claim for claim in claims if claim.truth), None)
    return Verdict("passed", None, passed.kind) if passed else Verdict("unchecked", None, "")


__all__ = ["Claim", "Evidences", "Verdict", "check_pairs", "claims_of", "verdict_of"]
