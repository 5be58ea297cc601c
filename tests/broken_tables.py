"""Cases of tables that are broken or made to harm; all but some of the names are found when they are opened."""

import os
from pathlib import Path

from broken_roots import (
    BOX,
    ENDLESS,
    KEYFRAME,
    NEXT_KEYFRAME,
    OTHER,
    POSE,
    READING,
    SCENE,
    Case,
    again,
    chain,
    drop,
    edit,
    lost,
    make,
    move,
    place,
    put,
    put_all,
    refused,
    rewrite,
    spell,
    stray,
    times,
    together,
    twins,
    used,
    write,
)
from nuscenes_root import START_US, VERSION

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

TABLE_CASES: dict[str, Case] = {
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
    "a lone surrogate in a description": refused(
        put("scene", f"token-{OTHER}", description="\ud800"), ("wrong_type", "scene", f"token-{OTHER}")
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
    "a keyframe after one that is not there": refused(
        put("sample", KEYFRAME, prev="gone"), lost("sample", KEYFRAME), says="prev 'gone'"
    ),
    "a keyframe of a scene that is not there": refused(
        put("sample", KEYFRAME, scene_token="gone"), lost("sample", KEYFRAME), says="scene_token 'gone'"
    ),
    "a keyframe that no scene leads to": refused(edit("sample", stray), ("stray_sample", "sample", "stray")),
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
        edit("sample_annotation", twins), ("duplicate_box", "sample_annotation", "twin")
    ),
}
