"""DriveLM files for tests: a strict reader of the documented form, and generated files of that form and beyond it."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import CAMERAS, VQA_CATEGORIES

OPTIONAL = ("C", "con_up", "con_down", "cluster", "layer")


class Record(msgspec.Struct, forbid_unknown_fields=True):
    """A question, with all seven keys of the documentation."""

    Q: str
    A: str
    C: None
    con_up: None
    con_down: None
    cluster: None
    layer: None


class Questions(msgspec.Struct, forbid_unknown_fields=True):
    """Four lists."""

    perception: list[Record]
    prediction: list[Record]
    planning: list[Record]
    behavior: list[Record]


class Info(msgspec.Struct, forbid_unknown_fields=True, rename={"bbox": "2d_bbox"}):
    """What is known of a tagged object."""

    Category: str
    Status: str | None
    Visual_description: str
    bbox: Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]


TagKey = Annotated[str, msgspec.Meta(pattern=r"^<c[1-9]\d*,CAM_(FRONT|BACK)(_LEFT|_RIGHT)?,\d+\.\d,\d+\.\d>$")]


class Images(msgspec.Struct, forbid_unknown_fields=True):
    """A path for each camera."""

    CAM_FRONT: str
    CAM_FRONT_LEFT: str
    CAM_FRONT_RIGHT: str
    CAM_BACK: str
    CAM_BACK_LEFT: str
    CAM_BACK_RIGHT: str


class Frame(msgspec.Struct, forbid_unknown_fields=True):
    """A key frame."""

    key_object_infos: dict[TagKey, Info]
    QA: Questions
    image_paths: Images


class Scene(msgspec.Struct, forbid_unknown_fields=True):
    """A scene."""

    scene_description: str
    key_frames: dict[str, Frame]


def read_strictly(path: Path) -> dict[str, Scene]:
    """A file of just the documented form; raises ``msgspec.ValidationError`` for any other."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Scene])


def record(question: str, answer: str, **more: Any) -> dict[str, Any]:
    """A question as DriveLM has it."""
    return {"Q": question, "A": answer, **dict.fromkeys(OPTIONAL), **more}


def frame(*perception: dict[str, Any], infos: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    """A key frame with perception questions, and others by category."""
    questions = {"perception": list(perception), "prediction": [], "planning": [], "behavior": []} | others
    paths = {camera: f"../nuscenes/samples/{camera}/a.jpg" for camera in CAMERAS}
    return {"key_object_infos": infos or {}, "QA": questions, "image_paths": paths}


def write(path: Path, scenes: Any) -> Path:
    """A file of JSON; text is written as it is."""
    path.write_text(scenes if isinstance(scenes, str) else json.dumps(scenes), encoding="utf-8", errors="surrogatepass")
    return path


def in_order(value: Any) -> Any:
    """A JSON value in which the order of keys counts and 1 differs from 1.0."""
    if isinstance(value, dict):
        return [("key", key, in_order(one)) for key, one in value.items()]
    if isinstance(value, list):
        return [in_order(one) for one in value]
    return (type(value).__name__, value)


TEXTS = st.text(max_size=30)
"""Any Unicode but lone surrogates: control characters, right-to-left, emoji."""
NUMBERS = st.floats(0, 1600).map(lambda number: round(number, 1))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
TAGS = st.builds("<c{},{},{},{}>".format, st.integers(1, 9), st.sampled_from([*CAMERAS, "CAM_ROOF"]), NUMBERS, NUMBERS)
SPEECH = st.lists(
    st.one_of(TEXTS, TAGS, st.sampled_from(["<b>", "&amp;", "the car", "\x00", "\u202e"])), max_size=4
).map(" ".join)


WORDS = st.sampled_from(["Where is", "What is", "the car", "Moving.", "\u00dcber", "\u8f66", "\U0001f697", "", " "])
SAYING = st.lists(WORDS | TAGS, min_size=1, max_size=3).map(" ".join)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """A question: keys in any order, the answer maybe empty, optional keys null, filled or missing, and others."""
    made: dict[str, Any] = {"Q": draw(SAYING | SPEECH), "A": draw(SAYING | SPEECH | st.none())}
    made |= {key: draw(st.none() | ANYTHING) for key in OPTIONAL if draw(st.integers(0, 3))}
    made |= draw(st.dictionaries(TEXTS.filter(lambda key: key not in made), ANYTHING, max_size=1))
    return {key: made[key] for key in draw(st.permutations(list(made)))}


@st.composite
def frames(draw: st.DrawFn) -> dict[str, Any]:
    """A key frame: parts missing, null or with more than is documented."""
    info = st.fixed_dictionaries(
        {},
        optional={
            "Category": st.sampled_from(["Vehicle", "Pedestrian", "Traffic element", "Vehicl\u00e9"]) | st.none(),
            "Status": st.sampled_from(["Moving", "Stationary"]) | st.none(),
            "Visual_description": TEXTS,
            "2d_bbox": st.lists(NUMBERS, min_size=4, max_size=4) | st.none(),
            "extra": ANYTHING,
        },
    )
    names = draw(st.permutations(VQA_CATEGORIES))[: draw(st.integers(1, 4))]
    questions = {name: draw(st.none() | st.lists(records(), min_size=1, max_size=2)) for name in names}
    made: dict[str, Any] = {
        "key_object_infos": draw(st.none() | st.dictionaries(TAGS | TEXTS, info, max_size=3)),
        "QA": questions if draw(st.integers(0, 9)) else None,
        "image_paths": draw(st.none() | st.dictionaries(st.sampled_from(CAMERAS), TEXTS)),
    }
    made = {key: value for key, value in made.items() if draw(st.integers(0, 9))}
    made |= draw(st.dictionaries(TEXTS.filter(lambda key: key not in made), ANYTHING, max_size=1))
    return {key: made[key] for key in draw(st.permutations(list(made)))}


@st.composite
def files(draw: st.DrawFn, keyframes: dict[str, list[str]]) -> dict[str, Any]:
    """A file about scenes (sample tokens by scene token) and about others that nobody has.

    The first keyframe has one question at least that becomes a pair.
    """
    made: dict[str, Any] = {}
    for scene_token in draw(st.permutations([*keyframes, "scene of others"])):
        tokens = draw(st.permutations([*keyframes.get(scene_token, [])[:2], "frame of others"]))
        key_frames = {token: draw(frames()) for token in tokens}
        scene = {"key_frames": key_frames, **draw(st.dictionaries(st.just("more"), ANYTHING))}
        if draw(st.integers(0, 4)):
            scene["scene_description"] = draw(st.none() | TEXTS)
        made[scene_token] = {key: scene[key] for key in draw(st.permutations(list(scene)))}
    scene_token, (sample_token, *_) = next(iter(keyframes.items()))
    first = made[scene_token]["key_frames"][sample_token]
    before = first.get("QA") or {}
    first["QA"] = before | {"planning": [*(before.get("planning") or []), record("What next?", "Go.")]}
    return made
