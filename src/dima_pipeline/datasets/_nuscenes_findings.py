"""What can be wrong with recordings in the nuScenes format, and the list in which checks collect it.

A check adds one finding for all records that fail it alike, and goes on; whoever asked for the checks stops then.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from dima_pipeline.contracts.findings import BrokenRecording, Finding

CHECKS: Final = {
    # Of tables, when they are opened.
    "missing_table": "a table is not there",
    "unreadable_table": "a table is no file, or may not be read",
    "malformed_table": "a table is no list of records in JSON and UTF-8",
    "missing_field": "a record lacks a field",
    "wrong_type": "a field is of another type, or out of its bounds",
    "duplicate_token": "records of a table have one token",
    "dangling_token": "a token is not in the table that it refers to",
    "unsafe_name": "a scene name, scene token or location cannot be a file name",
    "duplicate_name": "scenes have one name",
    "unsafe_file_name": "a file name leads out of the dataroot or cannot be a file name",
    "scene_chain": "the keyframes of a scene are no chain, or not those that the scene promises",
    "stray_sample": "no scene leads to a keyframe",
    "time_order": "a keyframe is not later than the one before it",
    "torn_chain": "prev and next of two records do not point at each other",
    "cyclic_chain": "prev and next lead round in a circle",
    "missing_keyframe_row": "a keyframe lacks the reading of a camera or of the reference channel",
    "duplicate_box": "an instance has two boxes in a keyframe",
    # Of one scene, when it is read.
    "unreadable_record": "the bytes of a record are none any more, or hold what Python cannot",
    "wrong_length": "a vector is of another length, or is none",
    "not_finite": "a vector holds NaN, infinity or an absurd number",
    "not_a_rotation": "a quaternion is not of unit length",
    "box_size": "a side of a box is not positive",
    "image_size": "a camera file has no width and height",
    "broken_can_bus": "a file of the CAN bus is damaged, or of another time than its scene",
    "broken_map": "a map expansion is damaged or incomplete",
}
"""Names that findings have as ``check``, and what they say."""


class Findings(list[Finding]):
    """Errors that checks have found so far."""

    def add(
        self, check: str, table: str | Path, message: str, *, token: str = "", num: int = 1, scene_name: str = ""
    ) -> None:
        """``num`` records of a table (its name or path) fail a check alike; message and token are of the first."""
        assert check in CHECKS, check
        self.append(
            Finding(
                severity="error",
                check=check,
                message=message + (f" ({num - 1:,} more like it)" if num > 1 else ""),
                scene_name=scene_name,
                table=table.stem if isinstance(table, Path) else table,
                token=shown(token),
                num=num,
            )
        )

    def stop(self) -> None:
        """Raise ``BrokenRecording`` with what was found, if anything was."""
        if self:
            raise BrokenRecording(self)


def broken(check: str, table: str | Path, message: str, *, token: str = "", scene_name: str = "") -> BrokenRecording:
    """To raise where one thing makes it pointless to look further."""
    findings = Findings()
    findings.add(check, table, message, token=token, scene_name=scene_name)
    return BrokenRecording(findings)


@contextmanager
def of_scene(scene_name: str) -> Iterator[None]:
    """What is found within concerns one scene."""
    try:
        yield
    except BrokenRecording as error:
        named = (replace(finding, scene_name=finding.scene_name or scene_name) for finding in error.findings)
        raise BrokenRecording(named) from None


def shown(text: Any) -> str:
    """A token or name for a message: short and without control characters, whatever the file holds."""
    escaped = repr(text)[1:-1] if isinstance(text, str) else repr(text)
    return escaped if len(escaped) <= 80 else f"{escaped[:77]}..."
