"""What people decided about question-answer pairs: kept for ever, and applied to every annotation.

A decision belongs to a ``pair_id``, a digest of all that the pair says: an annotation that says the same again finds
its decision again, and one whose pair is gone is kept and called stale. The file holds one JSON object a line with the
digest of the rest of the line; lines are only added.
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pandas as pd

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.storage.lock import exclusive
from dima_pipeline.storage.manifest import write_durably

logger = logging.getLogger(__name__)

LABELS = ("accept", "fix", "reject")
DISPUTED = "disputed"
HUMAN = "human"
LINE = re.compile(rb'\{"digest":"([0-9a-f]{16})",(.+)', re.DOTALL)
PATIENCE_S = 30.0
"""How long an import waits for another one."""

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Decision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one annotator decided about one pair, with the pair as it was shown."""

    pair_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    sample_token: str
    category: Literal["perception", "prediction", "planning", "behavior"]
    question: str
    answer: str
    source: str
    decision: Literal["accept", "fix", "reject"]
    fixed_question: Text | None = None
    """Of a fix, whether it changed or not; null otherwise."""
    fixed_answer: Text | None = None
    note: str | None = None
    annotator: Text
    decided_at: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$")]
    """UTC with microseconds: sorts as text."""
    tier: str
    """Why the pair was in the queue (``review_queue``)."""
    origin: str
    """Project, task and annotation of Label Studio."""

    def identity(self) -> tuple[object, ...]:
        """What makes a decision the same as another: not where it was exported from."""
        said = (self.decision, self.fixed_question, self.fixed_answer, self.note)
        return (self.pair_id, self.annotator, self.decided_at, *said)

    def __post_init__(self) -> None:
        """Refuses a fix without words, and words without a fix."""
        if ((self.fixed_question is None) or (self.fixed_answer is None)) == (self.decision == "fix"):
            raise ValueError("a fix, and nothing else, has fixed_question and fixed_answer")


COLUMNS = Decision.__struct_fields__


def no_decisions() -> pd.DataFrame:
    """A table without rows."""
    return _frame([])


def read_decisions(path: Path) -> pd.DataFrame:
    """Every decision ever imported, in the order of import: a column for each field of ``Decision``.

    Raises ``ValueError`` that names the file, and the line that is not what was written.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: `dima review import` makes it")
    return _frame(_read(path))


def add_decisions(path: Path, decisions: pd.DataFrame) -> int:
    """Add the rows that are not there yet, all or none of them; returns how many that were.

    Raises ``ValueError`` as ``read_decisions`` does, and ``storage.lock.BusyError`` while another import goes on.
    """
    with exclusive(path.parent, "imports review decisions", PATIENCE_S):
        there = _read(path) if path.is_file() else []
        known = {decision.identity() for decision in there}
        added = [decision for decision in _decisions(decisions) if not _is_known(decision, known)]
        if added:
            old = path.read_bytes() if path.is_file() else b""
            write_durably(path, old + b"".join(map(_line, added)))
    return len(added)


def _is_known(decision: Decision, known: set[tuple[object, ...]]) -> bool:
    is_known = decision.identity() in known
    known.add(decision.identity())
    return is_known


def _line(decision: Decision) -> bytes:
    body = msgspec.json.encode(decision)
    return b'{"digest":"%s",%s\n' % (_digest(body[1:]), body[1:])


def _digest(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest()[:16].encode()


def _read(path: Path) -> list[Decision]:
    lines = path.read_bytes().split(b"\n")
    if lines.pop():
        raise ValueError(f"{path} ends within line {len(lines) + 1}: cut short? {_RESTORE}")
    return [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


_RESTORE = "Lines are only ever added here: take back the last good version of the file"


def _parsed(line: bytes, where: str) -> Decision:
    match = LINE.fullmatch(line)
    if match is None or _digest(match[2]) != match[1]:
        raise ValueError(f"{where} is not what was written: its digest differs. {_RESTORE}")
    try:
        return msgspec.json.decode(b"{" + match[2], type=Decision)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{where} is no decision of this version: {error}") from None


def _decisions(frame: pd.DataFrame) -> list[Decision]:
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [msgspec.convert(row, Decision) for row in rows]


def _frame(decisions: Iterable[Decision]) -> pd.DataFrame:
    return pd.DataFrame([msgspec.structs.astuple(row) for row in decisions], columns=list(COLUMNS), dtype=object)


def latest_decisions(decisions: pd.DataFrame) -> pd.DataFrame:
    """The last word of every annotator on every pair; of two at the same time, the one imported last."""
    ordered = decisions.sort_values("decided_at", kind="stable")
    return ordered.drop_duplicates(["pair_id", "annotator"], keep="last").reset_index(drop=True)


class Outcome(NamedTuple):
    """What the annotators of a pair want together."""

    pair_id: str
    decision: str
    """accept, fix, reject or disputed."""
    fixed_question: str | None
    fixed_answer: str | None
    num_annotators: int
    votes: str
    """In words."""


def outcomes(decisions: pd.DataFrame) -> pd.DataFrame:
    """One row a pair, columns as ``Outcome``.

    More than half of the annotators must want the same (of a fix, the same words); else the pair is ``disputed``.
    """
    return pd.DataFrame(list(_outcomes(decisions).values()), columns=list(Outcome._fields))


def _outcomes(decisions: pd.DataFrame) -> dict[str, Outcome]:
    votes: dict[str, list[Decision]] = {}
    for decision in _decisions(latest_decisions(decisions)):
        votes.setdefault(decision.pair_id, []).append(decision)
    return {pair_id: _outcome(pair_id, votes[pair_id]) for pair_id in sorted(votes)}


def _outcome(pair_id: str, votes: list[Decision]) -> Outcome:
    wanted = Counter((vote.decision, vote.fixed_question, vote.fixed_answer) for vote in votes)
    most, num = wanted.most_common(1)[0]
    label, question, answer = most if 2 * num > len(votes) else (DISPUTED, None, None)
    said: Counter[str] = Counter(vote.decision for vote in votes)
    in_words = ", ".join(f"{said[name]} {name}" for name in LABELS if said[name])
    return Outcome(pair_id, label, question, answer, len(votes), in_words)


def apply_decisions(pairs: pd.DataFrame, decisions: pd.DataFrame) -> pd.DataFrame:
    """``vqa_pairs`` after review, in the same order.

    An accepted pair passes its check and loses its flag; a fixed one has other words, another ``pair_id``, the source
    ``human`` and no check; a rejected one is dropped; a disputed one fails its check, so that nobody learns from it.
    A pair that was made by a fix may be decided upon again. Stale decisions are logged and change nothing.
    """
    decided = _outcomes(decisions)
    places = [place for place, pair_id in enumerate(pairs["pair_id"]) if pair_id in decided]
    rows = pairs.iloc[places].to_dict("records")
    changed = {place: _after_review(row, decided) for place, row in zip(places, rows, strict=True)}
    kept = {place: row for place, row in changed.items() if row is not None}
    others = pairs.reset_index(drop=True).drop(index=places)
    parts = [others, pd.DataFrame(list(kept.values()), index=list(kept), columns=pairs.columns).astype(pairs.dtypes)]
    together = pd.concat(parts) if kept else others
    stale = stale_decisions(pairs, decisions)
    if len(stale):
        logger.warning("%d of %d decisions are stale: no pair says that any more", len(stale), len(decisions))
    return together.sort_index().drop_duplicates("pair_id").reset_index(drop=True)


def _after_review(row: dict[Any, Any], decided: dict[str, Outcome]) -> dict[Any, Any] | None:
    """The row of ``vqa_pairs``, changed; None where it is to go. Each decision counts once: fixes may lead round."""
    visited: set[str] = set()
    while row["pair_id"] in decided and row["pair_id"] not in visited:
        visited.add(row["pair_id"])
        outcome = decided[row["pair_id"]]
        if outcome.decision == "reject":
            return None
        if outcome.decision == "accept":
            row = {**row, "check": "passed", "reason": None}
        elif outcome.decision == DISPUTED:
            row = {**row, "check": "failed", "reason": f"review: {outcome.votes}"}
        else:
            assert outcome.fixed_question is not None and outcome.fixed_answer is not None, outcome
            row = _fixed(row, outcome.fixed_question, outcome.fixed_answer)
    return row


def _fixed(row: dict[Any, Any], question: str, answer: str) -> dict[Any, Any]:
    pair_id = fixed_pair_id(row["sample_token"], row["category"], question, answer)
    said = {"pair_id": pair_id, "question": question, "answer": answer, "source": HUMAN}
    return {**row, **said, "check": "unchecked", "reason": None}


def fixed_pair_id(sample_token: str, category: str, question: str, answer: str) -> str:
    """The ``pair_id`` of what a fix makes."""
    return VqaPair(sample_token, category, question, answer, source=HUMAN).pair_id


def stale_decisions(pairs: pd.DataFrame, decisions: pd.DataFrame, *, is_applied: bool = False) -> pd.DataFrame:
    """The decisions whose pair is gone: neither among ``pairs`` nor made by a fix of one of them.

    ``is_applied``: ``pairs`` have been through ``apply_decisions``, which leaves no trace of rejected ones; those count
    as stale no more than fixed ones whose result is there.
    """
    there = set(pairs["pair_id"])
    decided = _outcomes(decisions)
    shown = {decision.pair_id: decision for decision in _decisions(decisions)}
    makes = {
        key: fixed_pair_id(shown[key].sample_token, shown[key].category, row.fixed_question, row.fixed_answer)
        for key, row in decided.items()
        if row.fixed_question is not None and row.fixed_answer is not None
    }
    if is_applied:
        there |= {key for key, row in decided.items() if row.decision == "reject"}
        there |= _leading_to(there, makes)
    else:
        there |= _led_to(there, makes)
    return decisions[~decisions["pair_id"].isin(there)].reset_index(drop=True)


def _led_to(there: set[str], makes: dict[str, str]) -> set[str]:
    """What fixes of pairs that are there make, and fixes of those."""
    found, waiting = set(there), [key for key in makes if key in there]
    while waiting:
        made = makes.get(waiting.pop())
        if made is not None and made not in found:
            found.add(made)
            waiting.append(made)
    return found


def _leading_to(there: set[str], makes: dict[str, str]) -> set[str]:
    """The pairs whose fix, or the fix of it, is there."""
    return {key for key in makes if _led_to({key}, makes) & there}
