"""Pairs, decisions and exports of Label Studio, typed by hand for tests of the review."""

import json

import pandas as pd

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.curation.review import COLUMNS, fixed_pair_id

NO_SLICES = pd.DataFrame({"sample_token": [], "slice": [], "event_id": []}, dtype=object)
TIME = "2025-03-09T21:52:49.000000+00:00"


def pair_row(answer="Two.", question="How many cars are ahead?", *, sample="sample-1", source="rules", **other):
    """A row of ``vqa_pairs``."""
    pair = VqaPair(sample, "perception", question, answer, ("car-1",), source)
    row = {"pair_id": pair.pair_id, "sample_token": sample, "category": "perception", "question": question}
    row |= {"answer": answer, "objects": ["car-1"], "source": source, "check": "passed", "reason": None}
    return row | other


def pairs_of(*rows):
    """``vqa_pairs``."""
    return pd.DataFrame(list(rows), columns=list(pair_row()))


def decision_row(pair, decision="accept", *, by="1", at=TIME, fixed=None, tier="failed"):
    """A row of decisions about a row of ``vqa_pairs``; ``fixed`` is the corrected answer."""
    shown = {key: pair[key] for key in ("pair_id", "sample_token", "category", "question", "answer", "source")}
    fix = {"fixed_question": pair["question"] if fixed else None, "fixed_answer": fixed}
    said = {"decision": "fix" if fixed else decision, **fix, "note": None, "annotator": by, "decided_at": at}
    return shown | said | {"tier": tier, "origin": "project 1, task 1, annotation 1"}


def decisions_of(*rows):
    """The table of ``read_decisions``."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS), dtype=object)


def human_id(pair, answer):
    """What the pair is called after its answer was corrected."""
    return fixed_pair_id(pair["sample_token"], pair["category"], pair["question"], answer)


def result(name, *values):
    """One entry of an annotation's ``result``: a choice or a text."""
    kind, key = ("choices", "choices") if name == "decision" else ("textarea", "text")
    return {"id": "x", "from_name": name, "to_name": "answer", "type": kind, "value": {key: list(values)}}


def annotation(*results, by=1, at="2025-03-09T22:52:49.000000+01:00", number=1001):
    """An annotation as Label Studio exports it."""
    times = {"created_at": "2025-03-09T21:00:00Z", "updated_at": at}
    return {"id": number, "result": list(results), "was_cancelled": False, "completed_by": by, **times}


def exported(task, *annotations, number=7):
    """A task as Label Studio exports it: what was imported, with annotations and much that is of no concern."""
    others = {"project": 83, "drafts": [], "predictions": [], "meta": {}, "inner_id": 1, "comment_count": 0}
    return {"id": number, "data": task["data"], "annotations": list(annotations), **others}


def task_of(pair, environment="synthetic", tier="failed"):
    """A task as ``review_tasks`` writes it, without pictures."""
    shown = {key: pair[key] for key in ("pair_id", "sample_token", "category", "question", "answer", "source")}
    return {"data": {"dima_review": 1, "environment": environment, "tier": tier, **shown}}


def write_json(path, content):
    """Write and return the path."""
    path.write_text(json.dumps(content))
    return path
