"""How objects are mentioned: by a tag ``<c1,CAM,u,v>``, by a description "the nearest car to the front", or both.

A tag is resolved by projecting box centres; a description by the tables alone; both must mean the same object.
"""

import re
from dataclasses import dataclass

import numpy as np

from independent import words
from independent.verdict import AGREED, Verdict, denied, first_failure, judge, undecided
from independent.world import Box, Keyframe

DIRECTION = r"(?:front left|front right|back left|back right|front|back)"
KIND = rf"(?:{'|'.join(sorted(words.CATEGORIES, key=len, reverse=True))})"
TAG = r"<c\d+,(?P<camera>CAM_[A-Z_]+),(?P<u>-?[\d.]+),(?P<v>-?[\d.]+)>"
DESCRIPTION = (
    rf"[Tt]he (?P<nearest>nearest )?(?P<kind>{KIND}) to the (?P<direction>{DIRECTION})\b(?! left| right| of the ego)"
)
TAG_PX, WIDTH_PX = 1.5, 1600.0


def _split_reference() -> re.Pattern[str]:
    plain = re.sub(r"\?P<\w+>", "", DESCRIPTION)
    return re.compile(rf"(?P<tag><c\d+,[A-Z_]+,[^>]*>)(?:, (?P<tagged>{plain}),?)?|(?P<bare>{plain})")


REFERENCE = _split_reference()


@dataclass(frozen=True)
class Reference:
    """One mention of an object: by tag, by description, or both."""

    tag: str | None
    description: str | None


def extract(text: str) -> tuple[str, list[Reference]]:
    """The text with every mention replaced by ``OBJ``, and the mentions in order."""
    found = [Reference(m["tag"], m["tagged"] or m["bare"]) for m in REFERENCE.finditer(text)]
    return REFERENCE.sub("OBJ", text), found


def seen(keyframe: Keyframe) -> list[Box]:
    """The boxes of which the pairs speak: those that are not mostly hidden."""
    return [box for box in keyframe.boxes if not box.visibility < words.SEEN_VISIBILITY]


def direction_of(azimuth_deg: float) -> str:
    """The one of six directions in which an azimuth lies."""
    turned = abs(azimuth_deg)
    if turned <= words.FRONT_DEG:
        return "front"
    if turned >= 180 - words.FRONT_DEG:
        return "back"
    return ("front" if turned < words.BESIDE_DEG else "back") + (" left" if azimuth_deg > 0 else " right")


def lies_to(box: Box, direction: str | None) -> bool | None:
    """Whether a box lies in a direction; None at its border; any direction where it is None."""
    if direction is None:
        return True
    nearby = {direction_of(box.azimuth + shift) for shift in (-words.BORDER_DEG, 0.0, words.BORDER_DEG)}
    return None if direction in nearby and len(nearby) > 1 else nearby == {direction}


def is_kind(box: Box, kind: str) -> bool:
    """Whether a box is of a kind as the pairs name it, in the singular."""
    if kind in {"object", "objects"}:
        return True
    return box.category in words.VEHICLES if kind == "vehicle" else box.category == words.CATEGORIES[kind]


def singular(kind: str) -> str:
    """The singular of a kind's name."""
    return "bus" if kind in {"buses", "bus"} else kind.removesuffix("s")


def resolve(keyframe: Keyframe, reference: Reference) -> tuple[Box | None, Verdict]:
    """The object that a reference means, and a denial or doubt where tag, description and tables disagree."""
    if reference.tag is None:
        return _described(keyframe, reference.description or "")
    box = _tagged(keyframe, reference.tag)
    if box is None:
        return None, denied(f"no box centre projects to {reference.tag}")
    if reference.description is None:
        return box, AGREED
    return box, fits(keyframe, box, reference.description)


def fits(keyframe: Keyframe, box: Box, description: str) -> Verdict:
    """Whether a description is true of a box: its kind, its direction, and that none is nearer."""
    match = re.fullmatch(DESCRIPTION, description)
    if match is None:
        return denied(f"no description: {description}")
    checks = [
        judge(is_kind(box, match["kind"]), f"{description}: it is a {box.category}"),
        judge(lies_to(box, match["direction"]), f"{description}: azimuth {box.azimuth:.2f}°"),
    ]
    if match["nearest"]:
        sure = [other.distance for other in _fitting(keyframe, match) if lies_to(other, match["direction"])]
        tied = box.distance <= min(sure, default=np.inf) + words.BORDER_M
        checks.append(judge(tied, f"{description}: another is nearer"))
    return first_failure(checks)


def _fitting(keyframe: Keyframe, match: re.Match[str]) -> list[Box]:
    of_kind = [box for box in seen(keyframe) if is_kind(box, match["kind"])]
    return [box for box in of_kind if lies_to(box, match["direction"]) is not False]


def _described(keyframe: Keyframe, description: str) -> tuple[Box | None, Verdict]:
    match = re.fullmatch(DESCRIPTION, description)
    if match is None:
        return None, denied(f"no description: {description}")
    found = sorted(_fitting(keyframe, match), key=lambda box: box.distance)
    if not found:
        return None, denied(f"there is no {description.lower().removeprefix('the ')}")
    in_reach = [box for box in found if abs(box.center[0]) <= 30 and abs(box.center[1]) <= 15]
    if not match["nearest"] and len(found) > 1 and len(in_reach) != 1:
        return found[0], undecided(f"{len(found)} objects are '{description}'")
    box = (found if match["nearest"] or not in_reach else in_reach)[0]
    return box, judge(lies_to(box, match["direction"]), f"{description}: azimuth {box.azimuth:.2f}°")


def _tagged(keyframe: Keyframe, tag: str) -> Box | None:
    match = re.fullmatch(TAG, tag)
    if match is None:
        return None
    point = np.array([float(match["u"]), float(match["v"])])
    errors = {box.token: float(np.abs(pixel(keyframe, box, match["camera"]) - point).max()) for box in keyframe.boxes}
    best = min(errors, key=lambda token: errors[token], default=None)
    return keyframe.by_token[best] if best is not None and errors[best] <= TAG_PX else None


def pixel(keyframe: Keyframe, box: Box, camera: str) -> np.ndarray:
    """Where a box's centre is seen by a camera, in pixels of 1600 wide images; infinite behind it."""
    name = camera.lower()
    transform = np.asarray(keyframe.row[f"{name}_camera_from_ego"], float).reshape(4, 4)
    intrinsics = np.asarray(keyframe.row[f"{name}_intrinsics"], float).reshape(3, 3)
    x, y, depth = intrinsics @ (transform[:3, :3] @ box.center + transform[:3, 3])
    if depth <= 0.1:
        return np.array([np.inf, np.inf])
    return np.array([x, y]) / depth * (WIDTH_PX / float(keyframe.row[f"{name}_width"]))
