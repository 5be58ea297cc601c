"""Tables, CAN bus files and maps that are broken or made to harm, for tests: each case spoils the hand-made root.

Run as a script (``python broken_roots.py ROOT FOLDER``) it reads every case scene by scene and prints as JSON what came
of it: the findings, the message, and each file that was opened outside the root.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nuscenes_root import LOCATION, START_US, VERSION, edit_json

SCENE, OTHER = "scene-0061", "scene-0103"
KEYFRAME, NEXT_KEYFRAME = f"{SCENE}-3", f"{SCENE}-4"
READING = f"data-CAM_BACK-{KEYFRAME}"
POSE, LIDAR_POSE = f"pose-{READING}", f"pose-data-LIDAR_TOP-{KEYFRAME}"
BOX = "slow-3"
MAP = f"maps/expansion/{LOCATION}.json"
CAN = f"can_bus/{SCENE}_pose.json"
ENDLESS = "x" * 10_000

Spoil = Callable[[Path], object]
Found = tuple[str, str, str]
"""check, table and token."""


@dataclass(frozen=True)
class Case:
    """What is done to a root, and all that must be found; nothing where it can be used."""

    spoil: Spoil
    found: tuple[Found, ...]
    says: str = ""
    """Part of the message."""


def refused(spoil: Spoil, *found: Found, says: str = "") -> Case:
    """A root that is refused."""
    return Case(spoil, found, says)


def used(spoil: Spoil) -> Case:
    """A root that is odd, but can be read."""
    return Case(spoil, ())


def edit(name: str, change: Callable[[Any], Any]) -> Spoil:
    """Changes a table, or a file by its path below the root."""
    return lambda root: edit_json(place(root, name), change)


def place(root: Path, name: str) -> Path:
    """Of a table, or of a file by its path below the root."""
    return root / name if "/" in name else root / VERSION / f"{name}.json"


def put(name: str, token: str, /, **values: Any) -> Spoil:
    """Sets fields of a record."""
    return edit(name, lambda rows: next(row for row in rows if row["token"] == token).update(values))


def put_all(name: str, /, **values: Any) -> Spoil:
    """Sets fields of all records, each ``@`` to the number of the record."""

    def change(rows: list) -> None:
        for number, row in enumerate(rows):
            row.update({field: number if value == "@" else value for field, value in values.items()})

    return edit(name, change)


def drop(name: str, token: str) -> Spoil:
    """Deletes a record."""
    return edit(name, lambda rows: [row for row in rows if row["token"] != token])


def lack(name: str, field: str) -> Spoil:
    """Deletes a field of the first record."""
    return edit(name, lambda rows: rows[0].pop(field) and None)


def again(name: str) -> Spoil:
    """Repeats the first record."""
    return edit(name, lambda rows: [*rows, rows[0]])


def write(name: str, content: bytes) -> Spoil:
    """Replaces a file."""
    return lambda root: place(root, name).write_bytes(content)


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Spoil:
    """Changes the bytes of a file."""
    return lambda root: place(root, name).write_bytes(change(place(root, name).read_bytes()))


def spell(name: str, token: str, field: str, text: str) -> Spoil:
    """Sets a field to JSON that Python would not write."""

    def spoil(root: Path) -> None:
        put(name, token, **{field: "@"})(root)
        rewrite(name, lambda content: content.replace(b'"@"', text.encode()))(root)

    return spoil


def chain(name: str, *links: tuple[str, str, str]) -> Spoil:
    """Sets ``prev`` or ``next``: (token, field, target)."""
    return together(*(put(name, token, **{field: target}) for token, field, target in links))


def together(*spoils: Spoil) -> Spoil:
    """One after the other."""

    def spoil(root: Path) -> None:
        for one in spoils:
            one(root)

    return spoil


def make(name: str, kind: Callable[[Path], object]) -> Spoil:
    """Replaces a file by what ``kind`` makes at its path."""

    def spoil(root: Path) -> None:
        place(root, name).unlink()
        kind(place(root, name))

    return spoil


def move(name: str, target: str) -> Spoil:
    """Moves a table out of the root and leaves a link to it."""

    def spoil(root: Path) -> None:
        path = place(root, name)
        path.symlink_to(shutil.move(path, root.parent / target))

    return spoil


def times(scene_name: str, *values: Any) -> Spoil:
    """Sets the timestamps of the last keyframes of a scene."""
    first = 10 - len(values)
    return together(
        *(put("sample", f"{scene_name}-{first + index}", timestamp=value) for index, value in enumerate(values))
    )


def messages(change: Callable[[dict], Any]) -> Spoil:
    """Changes each message of the CAN bus."""
    return edit(CAN, lambda rows: [change(row) for row in rows] and None)


def node(name: str, /, **values: Any) -> Spoil:
    """Sets fields of a node of the map."""
    return edit(MAP, lambda town: next(row for row in town["node"] if row["token"] == name).update(values))


def _bow_tie(town: dict) -> None:
    tokens = next(row for row in town["polygon"] if row["token"] == "polygon-road")["exterior_node_tokens"]
    tokens[1], tokens[2] = tokens[2], tokens[1]


def _arc(**values: Any) -> Spoil:
    return edit(MAP, lambda town: town["arcline_path_3"]["turn"][0].update(values))


def _twins(rows: list) -> list:
    twin = {**next(row for row in rows if row["token"] == BOX), "token": "twin", "prev": "", "next": ""}
    return [*rows, twin]


def _stray(rows: list) -> list:
    return [*rows, {**rows[0], "token": "stray", "prev": "", "next": ""}]


def lost(table: str, token: str) -> Found:
    """A record of a table refers to one that is not there."""
    return ("dangling_token", table, token)


NAMES = {
    "up two folders": "../../etc/passwd",
    "up in the middle": "samples/../../x.jpg",
    "an absolute path": "/etc/passwd",
    "backslashes": "..\\..\\x.jpg",
    "a NUL": "samples/x\0.jpg",
    "control characters": "samples/\x1b[2J.jpg",
    "a line break": "samples/x\n.jpg",
    "10,000 bytes": ENDLESS,
}
UNSAFE = ("unsafe_file_name", "sample_data", READING)

CASES: dict[str, Case] = {
    # Names that would leave a directory.
    **{
        f"a file of {what}": refused(put("sample_data", READING, filename=name), UNSAFE) for what, name in NAMES.items()
    },
    "a file of a lone surrogate in it": refused(
        put("sample_data", READING, filename="samples/\ud800.jpg"), ("wrong_type", "sample_data", READING)
    ),
    "a file without name": used(put("sample_data", READING, filename="")),
    "a scene name up two folders": refused(
        put("scene", f"token-{OTHER}", name="../../x"), ("unsafe_name", "scene", f"token-{OTHER}")
    ),
    "a scene name that is a path": refused(
        put("scene", f"token-{OTHER}", name="/etc/passwd"), ("unsafe_name", "scene", f"token-{OTHER}")
    ),
    "a scene name without letters": refused(
        put("scene", f"token-{OTHER}", name=""), ("unsafe_name", "scene", f"token-{OTHER}")
    ),
    "a scene name of 10,000 bytes": refused(
        put("scene", f"token-{OTHER}", name=ENDLESS), ("unsafe_name", "scene", f"token-{OTHER}")
    ),
    "a scene name with a NUL": refused(
        put("scene", f"token-{OTHER}", name="a\0b"), ("unsafe_name", "scene", f"token-{OTHER}")
    ),
    "a scene token that is a path": refused(
        together(
            put("scene", f"token-{OTHER}", token="../x"),
            edit("sample", lambda rows: [row.update(scene_token="../x") for row in rows[10:]] and None),
        ),
        ("unsafe_name", "scene", "../x"),
    ),
    "a location up two folders": refused(
        put("log", f"log-{OTHER}", location="../../etc"), ("unsafe_name", "log", f"log-{OTHER}")
    ),
    "two scenes of one name": refused(
        put("scene", f"token-{OTHER}", name=SCENE), ("duplicate_name", "scene", f"token-{OTHER}")
    ),
    # Tables that are none.
    "a table that is missing": refused(make("ego_pose", lambda path: None), ("missing_table", "ego_pose", "")),
    "two tables that are missing": refused(
        together(make("log", lambda path: None), make("visibility", lambda path: None)),
        ("missing_table", "visibility", ""),
        ("missing_table", "log", ""),
        says="lacks visibility.json, log.json",
    ),
    "a table that is a folder": refused(make("instance", Path.mkdir), ("unreadable_table", "instance", "")),
    "a table that is a pipe": refused(make("sample", os.mkfifo), ("unreadable_table", "sample", "")),
    "a table that may not be read": refused(
        lambda root: place(root, "sensor").chmod(0), ("unreadable_table", "sensor", ""), says="Permission denied"
    ),
    "a table on another disk": refused(
        move("attribute", "moved.json"), ("file_outside_dataroot", f"{VERSION}/attribute.json", "")
    ),
    "a table that links to nothing": refused(
        make("attribute", lambda path: path.symlink_to("nothing.json")), ("missing_table", "attribute", "")
    ),
    "a table of 0 bytes": refused(write("scene", b""), ("malformed_table", "scene", "")),
    "a table of white space": refused(write("log", b" \n" * 1000), ("malformed_table", "log", "")),
    "a table cut in the middle": refused(
        rewrite("sample_annotation", lambda content: content[: len(content) // 2]),
        ("malformed_table", "sample_annotation", ""),
        says="cut short",
    ),
    "a table cut by its last byte": refused(
        rewrite("sample_data", lambda content: content[:-1]), ("malformed_table", "sample_data", "")
    ),
    "a table that is an object": refused(
        edit("category", lambda rows: {row["token"]: row for row in rows}), ("malformed_table", "category", "")
    ),
    "a table that is a number": refused(write("category", b"42"), ("malformed_table", "category", "")),
    "a list of lists": refused(
        edit("visibility", lambda rows: [list(row) for row in rows]), ("missing_field", "visibility", "")
    ),
    "100,000 brackets": refused(write("log", b"[" * 100_000), ("malformed_table", "log", "")),
    "100,000 brackets in a record": refused(
        spell("log", f"log-{SCENE}", "vehicle", "[" * 100_000 + "]" * 100_000), ("malformed_table", "log", "")
    ),
    "a number of 5,000 digits": refused(
        spell("sample", KEYFRAME, "timestamp", "9" * 5000), ("malformed_table", "sample", "")
    ),
    "a field of 5,000 digits that nobody reads": refused(
        spell("log", f"log-{SCENE}", "vehicle", "9" * 5000), ("unreadable_record", "log", f"log-{SCENE}")
    ),
    "a pose of 5,000 digits": refused(
        spell("ego_pose", POSE, "translation", f"[{'9' * 5000}, 0, 0]"), ("unreadable_record", "ego_pose", POSE)
    ),
    "invalid UTF-8": refused(
        rewrite("log", lambda content: content.replace(b"2020", b"\xff\xfe")), ("malformed_table", "log", "")
    ),
    "UTF-16": refused(
        rewrite("sensor", lambda content: content.decode().encode("utf-16")), ("malformed_table", "sensor", "")
    ),
    "a lone surrogate in a token": refused(
        rewrite("attribute", lambda content: content.replace(b'"moving"', b'"\\ud800"')),
        ("wrong_type", "attribute", "\\ud800"),
    ),
    "a byte order mark": used(rewrite("sample", lambda content: b"\xef\xbb\xbf" + content)),
    "text after the list": refused(
        rewrite("sensor", lambda content: content + b"!"), ("malformed_table", "sensor", "")
    ),
    "two lists": refused(rewrite("sensor", lambda content: content * 2), ("malformed_table", "sensor", "")),
    "a comment": refused(
        rewrite("sensor", lambda content: b"/* sensors */" + content), ("malformed_table", "sensor", "")
    ),
    "a record of two megabytes": refused(
        put("log", f"log-{OTHER}", vehicle="x" * 2**21), ("malformed_table", "log", "")
    ),
    # Fields.
    **{
        f"no {field} in {table}": refused(lack(table, field), ("missing_field", table, token))
        for table, field, token in (
            ("sample", "timestamp", f"{SCENE}-0"),
            ("scene", "nbr_samples", f"token-{SCENE}"),
            ("sample_data", "filename", f"data-CAM_FRONT-{SCENE}-0"),
            ("ego_pose", "rotation", f"pose-data-CAM_FRONT-{SCENE}-0"),
            ("sample_annotation", "size", "slow-0"),
            ("calibrated_sensor", "camera_intrinsic", "calibrated-CAM_FRONT"),
            ("log", "token", ""),
        )
    },
    **{
        f"{field} of {table} is {value!r:.20}": refused(
            put(table, token, **{field: value}), ("wrong_type", table, token)
        )
        for table, token, field, value in (
            ("sample", KEYFRAME, "timestamp", "soon"),
            ("sample", KEYFRAME, "timestamp", float("nan")),
            ("sample", KEYFRAME, "timestamp", -1),
            ("sample", KEYFRAME, "timestamp", 2**63),
            ("sample", KEYFRAME, "timestamp", 1.5),
            ("sample", KEYFRAME, "prev", None),
            ("sample", KEYFRAME, "next", {"token": NEXT_KEYFRAME}),
            ("sample_data", READING, "is_key_frame", "yes"),
            ("sample_data", READING, "filename", 7),
            ("scene", f"token-{OTHER}", "nbr_samples", "10"),
            ("scene", f"token-{OTHER}", "description", []),
            ("sensor", "sensor-CAM_BACK", "channel", ["CAM_BACK"]),
        )
    },
    **{
        f"{field} of {table} is {value!r:.30}": refused(put(table, token, **{field: value}), (check, table, token))
        for table, token, field, value, check in (
            ("ego_pose", POSE, "translation", [float("nan"), 0, 0], "not_finite"),
            ("ego_pose", LIDAR_POSE, "translation", [0, float("-inf"), 0], "not_finite"),
            ("ego_pose", POSE, "translation", [1e300, 0, 0], "not_finite"),
            ("ego_pose", POSE, "translation", [10**400, 0, 0], "wrong_type"),
            ("ego_pose", POSE, "translation", [1.0, 2.0], "wrong_length"),
            ("ego_pose", POSE, "translation", [[1.0, 2.0, 3.0]], "wrong_type"),
            ("ego_pose", POSE, "translation", [], "wrong_length"),
            ("ego_pose", POSE, "rotation", [0, 0, 0, 0], "not_a_rotation"),
            ("ego_pose", POSE, "rotation", [1, 0, 0], "wrong_length"),
            ("ego_pose", POSE, "rotation", [1.002, 0, 0, 0], "not_a_rotation"),
            ("ego_pose", POSE, "rotation", [1, float("nan"), 0, 0], "not_finite"),
            ("calibrated_sensor", "calibrated-CAM_BACK", "rotation", [2, 0, 0, 0], "not_a_rotation"),
            ("calibrated_sensor", "calibrated-CAM_BACK", "camera_intrinsic", [[1, 0], [0, 1]], "wrong_length"),
            ("calibrated_sensor", "calibrated-CAM_BACK", "camera_intrinsic", [[[]] * 3] * 3, "wrong_length"),
            ("sample_annotation", BOX, "size", [1.0, -2.0, 1.0], "box_size"),
            ("sample_annotation", BOX, "size", [1.0, 0.0, 1.0], "box_size"),
            ("sample_annotation", BOX, "size", [1.0, float("nan"), 1.0], "not_finite"),
            ("sample_annotation", BOX, "rotation", [0, 0, 0, 0], "not_a_rotation"),
            ("sample_annotation", BOX, "attribute_tokens", ["gone"], "dangling_token"),
            ("sample_annotation", BOX, "num_lidar_pts", "many", "wrong_type"),
            ("sample_data", READING, "width", 0, "image_size"),
            ("sample_data", READING, "height", -900, "wrong_type"),
            ("sample_data", READING, "width", 10**9, "wrong_type"),
        )
    },
    "a pose of 1e400": refused(
        spell("ego_pose", POSE, "translation", "[1e400, 0, 0]"), ("not_finite", "ego_pose", POSE)
    ),
    "a quaternion of nearly unit length": used(put("ego_pose", POSE, rotation=[1.0005, 0, 0, 0])),
    # Tokens.
    **{
        f"a token of {table} twice": refused(again(table), ("duplicate_token", table, token))
        for table, token in (
            ("category", "category-vehicle.car"),
            ("attribute", "moving"),
            ("visibility", "1"),
            ("sensor", "sensor-CAM_FRONT"),
            ("log", f"log-{SCENE}"),
            ("calibrated_sensor", "calibrated-CAM_FRONT"),
            ("instance", "slow"),
            ("sample", f"{SCENE}-0"),
            ("ego_pose", f"pose-data-CAM_FRONT-{SCENE}-0"),
            ("sample_data", f"data-CAM_FRONT-{SCENE}-0"),
            ("sample_annotation", "slow-0"),
        )
    },
    "a scene twice": refused(again("scene"), ("duplicate_token", "scene", f"token-{SCENE}")),
    "a calibration that is gone": refused(
        drop("calibrated_sensor", "calibrated-CAM_BACK"), lost("sample_data", f"data-CAM_BACK-{SCENE}-0")
    ),
    "a sensor that is gone": refused(
        drop("sensor", "sensor-CAM_BACK"), lost("calibrated_sensor", "calibrated-CAM_BACK")
    ),
    "an ego pose that is gone": refused(drop("ego_pose", POSE), lost("sample_data", READING)),
    "a log that is gone": refused(drop("log", f"log-{OTHER}"), lost("scene", f"token-{OTHER}")),
    "a category that is gone": refused(drop("category", "category-vehicle.car"), lost("instance", "slow")),
    "an instance that is gone": refused(drop("instance", "slow"), lost("sample_annotation", "slow-0")),
    "a scene that is gone": refused(drop("scene", f"token-{OTHER}"), lost("sample", f"{OTHER}-0")),
    "a keyframe that is gone": refused(
        drop("sample", KEYFRAME),
        lost("sample_data", f"data-CAM_FRONT-{KEYFRAME}"),
        lost("sample_annotation", BOX),
        lost("sample", NEXT_KEYFRAME),
        lost("sample", f"{SCENE}-2"),
    ),
    "a box that is gone": refused(
        drop("sample_annotation", BOX), lost("sample_annotation", "slow-4"), lost("sample_annotation", "slow-2")
    ),
    "an instance without boxes": refused(
        put("instance", "slow", first_annotation_token=""), lost("instance", "slow"), says="first_annotation_token ''"
    ),
    "tokens that are other tables'": refused(
        put_all("sample_data", sample_token=f"log-{SCENE}"),
        lost("sample_data", f"data-CAM_FRONT-{SCENE}-0"),
        says="(139 more like it)",
    ),
    # Chains and times.
    "a scene without keyframes": refused(
        put("scene", f"token-{OTHER}", first_sample_token="", last_sample_token="", nbr_samples=0),
        lost("scene", f"token-{OTHER}"),
        lost("scene", f"token-{OTHER}"),
    ),
    "a scene that promises one keyframe more": refused(
        put("scene", f"token-{SCENE}", nbr_samples=11), ("scene_chain", "sample", f"{SCENE}-9")
    ),
    "a scene that ends early": refused(
        put("scene", f"token-{SCENE}", last_sample_token=KEYFRAME), ("scene_chain", "sample", f"{SCENE}-9")
    ),
    "a keyframe that goes on in another scene": refused(
        chain("sample", (KEYFRAME, "next", f"{OTHER}-4")), ("scene_chain", "sample", f"{OTHER}-4")
    ),
    "a keyframe of another scene in the chain": refused(
        put("sample", KEYFRAME, scene_token=f"token-{OTHER}"), ("scene_chain", "sample", KEYFRAME)
    ),
    "keyframes in a circle": refused(
        chain("sample", (f"{SCENE}-9", "next", f"{SCENE}-0"), (f"{SCENE}-0", "prev", f"{SCENE}-9")),
        ("scene_chain", "sample", f"{SCENE}-0"),
    ),
    "a keyframe after itself": refused(
        chain("sample", (KEYFRAME, "next", KEYFRAME)), ("scene_chain", "sample", KEYFRAME)
    ),
    "a chain of keyframes that is torn": refused(
        chain("sample", (NEXT_KEYFRAME, "prev", "")), ("scene_chain", "sample", NEXT_KEYFRAME)
    ),
    "a keyframe that no scene leads to": refused(edit("sample", _stray), ("stray_sample", "sample", "stray")),
    "readings in a circle": refused(
        chain(
            "sample_data",
            (f"data-CAM_BACK-{SCENE}-9", "next", f"data-CAM_BACK-{SCENE}-0"),
            (f"data-CAM_BACK-{SCENE}-0", "prev", f"data-CAM_BACK-{SCENE}-9"),
        ),
        ("cyclic_chain", "sample_data", f"data-CAM_BACK-{SCENE}-0"),
    ),
    "a torn chain of readings": refused(
        chain("sample_data", (READING, "next", f"data-CAM_BACK-{SCENE}-6")), ("torn_chain", "sample_data", READING)
    ),
    "boxes in a circle": refused(
        chain("sample_annotation", ("slow-9", "next", "slow-0"), ("slow-0", "prev", "slow-9")),
        ("cyclic_chain", "sample_annotation", "slow-0"),
    ),
    "a torn chain of boxes": refused(
        chain("sample_annotation", ("slow-4", "prev", "")), ("torn_chain", "sample_annotation", BOX)
    ),
    "a circle that one end does not know of": refused(
        chain("sample_annotation", ("slow-9", "next", "slow-0")), ("torn_chain", "sample_annotation", "slow-9")
    ),
    "time reversed": refused(
        times(SCENE, *(START_US - index for index in range(9))), ("time_order", "sample", f"{SCENE}-1")
    ),
    "time that stands still": refused(
        times(SCENE, *[START_US] * 9), ("time_order", "sample", f"{SCENE}-1"), says="(8 more like it)"
    ),
    "time that steps back once": refused(times(OTHER, START_US), ("time_order", "sample", f"{OTHER}-9")),
    "a keyframe in the far future": used(times(OTHER, 2**62)),
    "a keyframe without a camera": refused(
        put("sample_data", READING, is_key_frame=False), ("missing_keyframe_row", "sample_data", KEYFRAME)
    ),
    "no LIDAR": refused(
        put("sensor", "sensor-LIDAR_TOP", channel="RADAR_FRONT"),
        ("missing_keyframe_row", "sample_data", f"{SCENE}-0"),
        says="reference_channel: CAM_FRONT (19 more like it)",
    ),
    "two boxes of an instance in a keyframe": refused(
        edit("sample_annotation", _twins), ("duplicate_box", "sample_annotation", "twin")
    ),
    # The CAN bus.
    "a CAN bus cut in the middle": refused(
        rewrite(CAN, lambda content: content[: len(content) // 2]), ("broken_can_bus", CAN, "")
    ),
    "a CAN bus that is no list": refused(edit(CAN, lambda rows: rows[0]), ("broken_can_bus", CAN, "")),
    "a CAN bus of numbers": refused(write(CAN, b"[1, 2, 3]"), ("broken_can_bus", CAN, "")),
    "a speed of NaN": refused(messages(lambda row: row.update(vel=[float("nan")] * 3)), ("broken_can_bus", CAN, "")),
    "a speed that is a text": refused(messages(lambda row: row.update(vel="12 km/h")), ("broken_can_bus", CAN, "")),
    "a speed of one axis": refused(messages(lambda row: row.update(rotation_rate=[0.1])), ("broken_can_bus", CAN, "")),
    "a time of 10^30": refused(messages(lambda row: row.update(utime=10**30)), ("broken_can_bus", CAN, "")),
    "a CAN bus of another scene": refused(
        messages(lambda row: row.update(utime=row["utime"] + 10**9)), ("broken_can_bus", CAN, ""), says="another scene"
    ),
    "a CAN bus that is a pipe": refused(make(CAN, os.mkfifo), ("broken_can_bus", CAN, "")),
    "a CAN bus that is a folder": refused(make(CAN, Path.mkdir), ("broken_can_bus", CAN, "")),
    "a CAN bus that may not be read": refused(lambda root: (root / CAN).chmod(0), ("broken_can_bus", CAN, "")),
    "a CAN bus backwards": used(edit(CAN, lambda rows: rows[::-1])),
    "a CAN bus without messages": used(write(CAN, b"[]")),
    "a route of texts": refused(
        write(f"can_bus/{SCENE}_route.json", b'[["a", "b"]]'), ("broken_can_bus", f"can_bus/{SCENE}_route.json", "")
    ),
    "a route to infinity": refused(
        write(f"can_bus/{SCENE}_route.json", b"[[0, 0], [1e999, 0]]"),
        ("broken_can_bus", f"can_bus/{SCENE}_route.json", ""),
    ),
    # Maps.
    "a map cut in the middle": refused(
        rewrite(MAP, lambda content: content[: len(content) // 2]), ("broken_map", MAP, "")
    ),
    "a map that is a number": refused(write(MAP, b"1"), ("broken_map", MAP, "")),
    "a map that is a list": refused(write(MAP, b"[]"), ("broken_map", MAP, "")),
    "a map without layers": refused(write(MAP, b"{}"), ("broken_map", MAP, ""), says="map expansion 1.3"),
    "a map of 100,000 brackets": refused(write(MAP, b"[" * 100_000), ("broken_map", MAP, "")),
    "a map whose layers are numbers": refused(edit(MAP, lambda town: dict.fromkeys(town, 1)), ("broken_map", MAP, "")),
    "a node that is gone": refused(
        edit(MAP, lambda town: town["node"].pop(0) and None), ("broken_map", MAP, "node-road-0")
    ),
    "a polygon that is gone": refused(
        edit(MAP, lambda town: town["polygon"].pop(0) and None), ("broken_map", MAP, "polygon-road")
    ),
    "a polygon of two nodes": refused(
        edit(MAP, lambda town: town["polygon"][0].update(exterior_node_tokens=["node-road-0", "node-road-1"])),
        ("broken_map", MAP, "polygon-road"),
    ),
    "a node at 1e300": refused(node("node-road-2", x=1e300), ("broken_map", MAP, "node-road-2")),
    "a node at NaN": refused(node("node-road-2", y=float("nan")), ("broken_map", MAP, "node-road-2")),
    "a node at a text": refused(node("node-road-2", y="north"), ("broken_map", MAP, "node-road-2")),
    "a lane of a billion metres": refused(_arc(segment_length=[0.0, 1e9, 0.0]), ("broken_map", MAP, "")),
    "a lane of negative length": refused(_arc(segment_length=[-1.0, 2.0, 0.0]), ("broken_map", MAP, "")),
    "a bend of no radius": refused(_arc(radius=0), ("broken_map", MAP, "")),
    "a lane that leads to a number": refused(
        edit(MAP, lambda town: town["connectivity"].update(left=1)), ("broken_map", MAP, "")
    ),
    "a polygon that crosses itself": used(edit(MAP, _bow_tie)),
    "a polygon of one point": used(
        edit(MAP, lambda town: town["polygon"][1].update(exterior_node_tokens=["node-road-0"] * 3))
    ),
    # Several at once: each is found.
    "five things at once": refused(
        together(
            make("visibility", lambda path: None),
            write("category", b"{}"),
            drop("calibrated_sensor", "calibrated-CAM_BACK"),
            times(OTHER, START_US),
            edit("sample_annotation", _twins),
        ),
        ("missing_table", "visibility", ""),
        ("malformed_table", "category", ""),
        lost("sample_data", f"data-CAM_BACK-{SCENE}-0"),
        ("time_order", "sample", f"{OTHER}-9"),
        ("duplicate_box", "sample_annotation", "twin"),
    ),
    "three things in one scene": refused(
        together(
            put("ego_pose", POSE, translation=[float("nan")] * 3),
            put("ego_pose", LIDAR_POSE, rotation=[0, 0, 0, 2]),
            put("sample_annotation", BOX, size=[0, 0, 0]),
        ),
        ("not_finite", "ego_pose", POSE),
        ("not_a_rotation", "ego_pose", LIDAR_POSE),
        ("box_size", "sample_annotation", BOX),
    ),
}


def copy(root: Path, target: Path) -> Path:
    """Of all but the pictures, which say nothing here."""
    return Path(shutil.copytree(root, target, ignore=shutil.ignore_patterns("samples")))


def read_cases(root: Path, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What comes of each case, in roots below ``folder``."""
    read(copy(root, folder / "sound"))  # and whatever is imported on the way
    opened: list[Any] = []
    sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
    for number, (name, case) in enumerate(CASES.items()):
        own = copy(root, folder / str(number) / "root")
        case.spoil(own)
        opened.clear()
        result = read(own)
        named = [Path(os.path.realpath(os.fsdecode(path))) for path in opened if not isinstance(path, int)]
        result["outside"] = [str(path) for path in named if not path.is_relative_to(own.resolve())]
        yield name, result
        shutil.rmtree(folder / str(number))


def read(root: Path) -> dict[str, Any]:
    """All scenes, as ingestion does: findings of one do not keep it from the next."""
    from dima_pipeline.contracts.findings import BrokenRecording
    from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

    findings, messages = [], []
    try:
        dataset = NuScenesDataset(Config(version=VERSION), dataroot=root)
        for scene_name in dataset.scene_names():
            try:
                dataset.fingerprint(scene_name)
                dataset.tables(scene_name)
                dataset.sweeps(scene_name)
            except BrokenRecording as error:
                findings += error.findings
                messages.append(str(error))
    except BrokenRecording as error:
        findings += error.findings
        messages.append(str(error))
    except ValueError as error:
        messages.append(str(error))
    return {"findings": [asdict(finding) for finding in findings], "messages": messages}


if __name__ == "__main__":
    print(json.dumps(dict(read_cases(Path(sys.argv[1]), Path(sys.argv[2])))))  # noqa: T201
