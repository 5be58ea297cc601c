"""Cases of fields, CAN bus files and maps that are broken or made to harm; most are found when a scene is read."""

import os
from pathlib import Path

from broken_roots import (
    BOX,
    CAN,
    KEYFRAME,
    LIDAR_POSE,
    MAP,
    NEXT_KEYFRAME,
    OTHER,
    POSE,
    READING,
    SCENE,
    Case,
    arc,
    bow_tie,
    drop,
    edit,
    lack,
    lost,
    make,
    messages,
    node,
    put,
    refused,
    rewrite,
    spell,
    times,
    together,
    twins,
    used,
    write,
)
from nuscenes_root import START_US

SCENE_CASES: dict[str, Case] = {
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
    "a lane of a billion metres": refused(arc(segment_length=[0.0, 1e9, 0.0]), ("broken_map", MAP, "")),
    "a lane of negative length": refused(arc(segment_length=[-1.0, 2.0, 0.0]), ("broken_map", MAP, "")),
    "a bend of no radius": refused(arc(radius=0), ("broken_map", MAP, "")),
    "a lane that leads to a number": refused(
        edit(MAP, lambda town: town["connectivity"].update(left=1)), ("broken_map", MAP, "")
    ),
    "a polygon that crosses itself": used(edit(MAP, bow_tie)),
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
            edit("sample_annotation", twins),
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
