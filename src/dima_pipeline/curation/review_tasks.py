"""The review queue as tasks of Label Studio (https://labelstud.io/guide/tasks), and the labelling interface for them.

A task carries all that its pair says, so that what comes back can be held against its ``pair_id``. No decision is
suggested (Label Studio's ``predictions``): it would lead the annotators, and their agreement would mean nothing.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as Xml

import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.curation.review import LABELS

TASK_FORMAT = 1
FORMAT_KEY = "dima_review"
PAIR_KEYS = ("pair_id", "sample_token", "category", "question", "answer", "source")
ABOVE = "above"
PICTURES = (*(camera.lower() for camera in CAMERAS), ABOVE)
"""Keys of a task that hold the address of a picture."""
LOCAL_FILES = "/data/local-files/?d="
"""What Label Studio serves below its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""
ROWS = (("cam_front_left", "cam_front", "cam_front_right"), ("cam_back_left", "cam_back", "cam_back_right"))


def review_tasks(
    queue: pd.DataFrame,
    samples: pd.DataFrame,
    scenes: pd.DataFrame,
    pictures: Mapping[str, Mapping[str, str]],
    *,
    facts: Mapping[str, str],
) -> list[dict[str, Any]]:
    """The rows of ``review_queue`` as Label Studio's basic JSON, in their order; texts are verbatim.

    ``pictures``: by pair_id, a path below Label Studio's document root for every key of ``PICTURES``; ``facts``: of the
    export as a whole (environment, licence).
    """
    where = samples.merge(scenes[["scene_token", "name", "description"]], on="scene_token").set_index("sample_token")
    return [
        _task(row, rank, where.loc[row["sample_token"]], pictures[row["pair_id"]], facts)
        for rank, row in enumerate(queue.to_dict("records"), 1)
    ]


def _task(
    row: Mapping[Any, Any], rank: int, sample: pd.Series, pictures: Mapping[str, str], facts: Mapping[str, str]
) -> dict[str, Any]:
    shown = (
        f"{row['category']}, from {row['source']}, check {row['check']}. In the queue as {row['tier']}: {row['why']}"
    )
    data = {
        FORMAT_KEY: TASK_FORMAT,
        **facts,
        **{key: row[key] for key in PAIR_KEYS},
        **{key: row[key] for key in ("check", "tier", "why")},
        "rank": rank,
        "scene": f"{sample['name']}, keyframe {sample['index']}: {sample['description']}",
        "shown": shown,
        **{key: LOCAL_FILES + quote(pictures[key]) for key in PICTURES},
    }
    return {"data": data, "meta": {"rank": rank, "tier": row["tier"], **facts}}


def labeling_config() -> str:
    """The XML of the labelling interface: question and answer, the decision, what a fix puts in their place, pictures.

    Texts are shown as plain text (``valueType="text"``): markup in them is not run, an address in them is not fetched.
    """
    view = Xml.Element("View")
    _text(view, "scene", "Scene")
    _text(view, "shown", "Pair")
    _text(view, "question", "Question")
    _text(view, "answer", "Answer")
    choices = {"name": "decision", "toName": "answer", "choice": "single-radio", "showInline": "true"}
    decision = Xml.SubElement(view, "Choices", choices | {"required": "true", "requiredMessage": "Choose one"})
    for label in LABELS:
        Xml.SubElement(decision, "Choice", {"value": label, "hotkey": label[0]})
    when = {"visibleWhen": "choice-selected", "whenTagName": "decision", "whenChoiceValue": "fix"}
    fix = Xml.SubElement(view, "View", when)
    _input(fix, "fixed_question", "Corrected question", "$question")
    _input(fix, "fixed_answer", "Corrected answer", "$answer")
    _input(view, "note", "Note (may stay empty)")
    for names in ROWS:
        row = Xml.SubElement(view, "View", {"style": "display: flex; gap: 6px"})
        for name in names:
            _picture(Xml.SubElement(row, "View", {"style": "flex: 1"}), name, "100%")
    _picture(view, ABOVE, "1100px")
    Xml.indent(view)
    return Xml.tostring(view, encoding="unicode") + "\n"


def _text(parent: Xml.Element, name: str, title: str) -> None:
    Xml.SubElement(parent, "Header", {"value": title, "size": "5"})
    Xml.SubElement(parent, "Text", {"name": name, "value": f"${name}", "valueType": "text"})


def _input(parent: Xml.Element, name: str, title: str, value: str | None = None) -> None:
    Xml.SubElement(parent, "Header", {"value": title, "size": "5"})
    filled = {"placeholder": title} if value is None else {"value": value}
    shape = {"rows": "2", "maxSubmissions": "1", "editable": "true", "showSubmitButton": "false"}
    Xml.SubElement(parent, "TextArea", {"name": name, "toName": "answer", **shape, **filled})


def _picture(parent: Xml.Element, name: str, width: str) -> None:
    title = (
        "from above, driving to the right, agents of the pair outlined"
        if name == ABOVE
        else name.removeprefix("cam_").replace("_", " ")
    )
    Xml.SubElement(parent, "Header", {"value": title, "size": "6"})
    Xml.SubElement(parent, "Image", {"name": name, "value": f"${name}", "zoom": "true", "maxWidth": width})
