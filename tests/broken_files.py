"""Files that are broken or lead away, for tests: each case spoils one file of the hand-made root.

Run as a script (``python broken_files.py ROOT FOLDER``) it reads every case as ingestion would and prints as JSON what
came of it: messages, seconds, and each file that was opened outside the root.
"""

import io
import json
import os
import re
import shutil
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nuscenes_root import IMAGE_SIZE, LOCATION, VERSION, edit_json

SCENE, INDEX, CAMERA = "scene-0061", 3, "CAM_BACK"
KEYFRAME = f"{SCENE}-{INDEX}"
FILE = f"samples/{CAMERA}/{KEYFRAME}.jpg"
OTHER = f"samples/{CAMERA}/{SCENE}-4.jpg"
HUGE = (50_000, 50_000)


@dataclass(frozen=True)
class Case:
    """What is done to a root, and what must come of it."""

    spoil: Callable[[Path, Path], None]
    """Called with the root and a folder outside, in which lies ``picture.jpg``, as good as the recorded one."""
    outcome: str
    """``used``, ``missing``, ``refused`` (before any picture is decoded) or ``undecodable`` (then)."""
    says: str = ""
    """Part of the message."""
    is_linked_root: bool = False
    """Whether the outside folder is one of the linked roots."""


def write(content: bytes) -> Callable[[Path, Path], None]:
    """Replaces the camera file."""

    def spoil(root: Path, _outside: Path) -> None:
        (root / FILE).unlink()
        (root / FILE).write_bytes(content)

    return spoil


def picture(mode: str = "RGB", size: tuple[int, int] = IMAGE_SIZE) -> Image.Image:
    """A picture with something to see."""
    red, green = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    noise = np.random.default_rng(0).integers(0, 255, red.shape)
    return Image.fromarray(np.dstack([red, green, noise]).astype(np.uint8)).convert(mode)


def encoded(form: str, mode: str = "RGB", size: tuple[int, int] = IMAGE_SIZE, **options: Any) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    picture(mode, size).save(buffer, form, **options)
    return buffer.getvalue()


JPEG, PNG = encoded("JPEG"), encoded("PNG")
FRAME = JPEG.index(b"\xff\xc0")
"""Where the header says precision (+4), height (+5) and width (+7)."""
SCAN = JPEG.index(b"\xff\xda")


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(depth: int, kind: int, pixels: bytes, *extra: bytes, size: tuple[int, int] = IMAGE_SIZE) -> bytes:
    """A PNG of given bits and kind; ``pixels`` of one row, ``extra`` chunks after the header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
    rows = zlib.compress((b"\0" + pixels) * min(size[1], IMAGE_SIZE[1]))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def unpacking_to(num_mb: int) -> bytes:
    """Zeros, compressed."""
    packer = zlib.compressobj()
    return b"".join(packer.compress(bytes(1_000_000)) for _ in range(num_mb)) + packer.flush()


def patched(content: bytes, offset: int, new: bytes) -> bytes:
    """``content`` with other bytes from ``offset`` on."""
    return content[:offset] + new + content[offset + len(new) :]


def link(name: str, target: str) -> Callable[[Path, Path], None]:
    """Replaces a file or folder of the root by a link to ``target``, which may name ``{outside}`` and ``{root}``."""

    def spoil(root: Path, outside: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(target.format(outside=outside, root=root))

    return spoil


def move_out(name: str) -> Callable[[Path, Path], None]:
    """Moves a file or folder of the root outside and leaves a link to it."""

    def spoil(root: Path, outside: Path) -> None:
        shutil.move(root / name, outside / "moved")
        (root / name).symlink_to(outside / "moved")

    return spoil


def make(kind: Callable[[Path], object]) -> Callable[[Path, Path], None]:
    """Replaces the camera file by what ``kind`` makes at its path."""

    def spoil(root: Path, _outside: Path) -> None:
        (root / FILE).unlink()
        kind(root / FILE)

    return spoil


def _socket(path: Path) -> None:
    # The path of a socket is short, so it is made beside a short working folder.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def _circle(root: Path, _outside: Path) -> None:
    (root / FILE).unlink()
    (root / OTHER).unlink()
    (root / FILE).symlink_to(root / OTHER)
    (root / OTHER).symlink_to(root / FILE)


def _two_links(root: Path, outside: Path) -> None:
    (root / FILE).unlink()
    (root / "step").symlink_to(outside)
    (root / FILE).symlink_to(root / "step" / "picture.jpg")


def _renamed(ending: str, *, is_file_too: bool) -> Callable[[Path, Path], None]:
    """The table names the file with a further ending."""

    def spoil(root: Path, _outside: Path) -> None:
        def rename(rows: list[dict[str, Any]]) -> None:
            next(row for row in rows if row["filename"] == FILE)["filename"] = FILE + ending

        edit_json(root / VERSION / "sample_data.json", rename)
        if is_file_too:
            (root / FILE).rename(root / (FILE + ending))

    return spoil


def _unreadable(root: Path, _outside: Path) -> None:
    (root / FILE).chmod(0)


OUTSIDE, NOT_DECODED, NO_FILE = "outside the dataroot", "cannot be decoded", "is no file"
THUMBNAIL = b"\xff\xe1" + struct.pack(">H", len(JPEG) + 2) + JPEG
CASES = {
    # Links.
    "a link to a file outside": Case(link(FILE, "{outside}/picture.jpg"), "refused", OUTSIDE),
    "a relative link out": Case(link(FILE, "../../../outside/picture.jpg"), "refused", OUTSIDE),
    "a link out by way of proc": Case(link(FILE, "/proc/self/root{outside}/picture.jpg"), "refused", OUTSIDE),
    "a link by way of another link": Case(_two_links, "refused", OUTSIDE),
    "a link to nothing outside": Case(link(FILE, "{outside}/nothing.jpg"), "refused", OUTSIDE),
    "a link to a device": Case(link(FILE, "/dev/zero"), "refused", OUTSIDE),
    "a link to a system file": Case(link(FILE, "/etc/passwd"), "refused", OUTSIDE),
    "a camera folder outside": Case(move_out(f"samples/{CAMERA}"), "refused", OUTSIDE),
    "all samples outside": Case(move_out("samples"), "refused", OUTSIDE),
    "a table outside": Case(move_out(f"{VERSION}/ego_pose.json"), "refused", OUTSIDE),
    "all tables outside": Case(move_out(VERSION), "refused", OUTSIDE),
    "a map outside": Case(move_out(f"maps/expansion/{LOCATION}.json"), "refused", OUTSIDE),
    "all maps outside": Case(move_out("maps"), "refused", OUTSIDE),
    "a CAN bus file outside": Case(move_out(f"can_bus/{SCENE}_pose.json"), "refused", OUTSIDE),
    "the CAN bus outside": Case(move_out("can_bus"), "refused", OUTSIDE),
    "all samples on a linked root": Case(move_out("samples"), "used", is_linked_root=True),
    "a file on a linked root": Case(link(FILE, "{outside}/picture.jpg"), "used", is_linked_root=True),
    "a link past the linked root": Case(link(FILE, "/etc/passwd"), "refused", OUTSIDE, is_linked_root=True),
    "a link to another image inside": Case(link(FILE, "{root}/" + OTHER), "used"),
    "a link to nothing inside": Case(link(FILE, "{root}/nothing.jpg"), "missing"),
    "a link to itself": Case(link(FILE, "{root}/" + FILE), "refused", "cannot be opened"),
    "links in a circle": Case(_circle, "refused", "cannot be opened"),
    # No files.
    "nothing": Case(make(lambda path: None), "missing"),
    "a folder": Case(make(Path.mkdir), "refused", NO_FILE),
    "a pipe": Case(make(os.mkfifo), "refused", NO_FILE),
    "a socket": Case(make(_socket), "refused", NO_FILE),
    "a file that may not be read": Case(_unreadable, "refused", "Permission denied"),
    "a name that ends in a space": Case(_renamed(" ", is_file_too=True), "used"),
    "a name that ends in a dot": Case(_renamed(".", is_file_too=True), "used"),
    "a name whose file has no such ending": Case(_renamed(" ", is_file_too=False), "missing"),
    # Cut short.
    "0 bytes": Case(write(b""), "refused", "is empty"),
    "1 byte": Case(write(JPEG[:1]), "refused", NOT_DECODED),
    "a JPEG of 3 bytes": Case(write(JPEG[:3]), "refused", "cut short within its header"),
    "a JPEG cut in its header": Case(write(JPEG[: FRAME + 6]), "refused", "cut short within its header"),
    "a JPEG cut before its pixels": Case(write(JPEG[:SCAN]), "refused", "cut short within its header"),
    "a JPEG cut in the middle": Case(write(JPEG[: len(JPEG) // 2]), "refused", "it has no end"),
    "a JPEG cut by its last byte": Case(write(JPEG[:-1]), "refused", "it has no end"),
    "a cut JPEG with a whole preview": Case(
        write(JPEG[:2] + THUMBNAIL + JPEG[2 : len(JPEG) // 2]), "refused", "it has no end"
    ),
    "a cut JPEG filled up with zeros": Case(
        write(JPEG[: len(JPEG) // 2] + bytes(len(JPEG) - len(JPEG) // 2)), "refused", "it has no end"
    ),
    "a PNG cut in its header": Case(write(PNG[:20]), "refused", "cut short within its header"),
    "a PNG cut in the middle": Case(write(PNG[: len(PNG) // 2]), "refused", "it has no end"),
    "a PNG cut by its last chunk": Case(write(PNG[:-12]), "refused", "it has no end"),
    "zeros": Case(write(bytes(len(JPEG))), "refused", NOT_DECODED),
    # No pictures, and pictures of other formats.
    "a text": Case(write(b"to do: copy the images\n" * 50), "refused", NOT_DECODED),
    "an error page": Case(write(b"<html><body>403 Forbidden</body></html>"), "refused", "b'<html><b'"),
    "a pointer of Git LFS": Case(write(b"version https://git-lfs.github.com/spec/v1\n"), "refused", NOT_DECODED),
    "a GIF": Case(write(encoded("GIF")), "refused", NOT_DECODED),
    "a WebP": Case(write(encoded("WEBP")), "refused", NOT_DECODED),
    "a TIFF": Case(write(encoded("TIFF")), "refused", NOT_DECODED),
    "a BMP": Case(write(encoded("BMP")), "refused", NOT_DECODED),
    "a compressed JPEG": Case(write(zlib.compress(JPEG)), "refused", NOT_DECODED),
    # Bombs.
    "a PNG of 50,000 x 50,000": Case(write(png(1, 0, b"", size=HUGE)), "refused", "claims"),
    "a JPEG of 50,000 x 50,000": Case(write(patched(JPEG, FRAME + 5, struct.pack(">HH", *HUGE))), "refused", "claims"),
    "a PNG with a second, huge header": Case(
        write(png(8, 2, b"\x80" * 480, chunk(b"IHDR", struct.pack(">IIBBBBB", *HUGE, 8, 2, 0, 0, 0)))),
        "undecodable",
        NOT_DECODED,
    ),
    "a PNG with a second, smaller header": Case(
        write(png(8, 2, b"\x80" * 480, chunk(b"IHDR", struct.pack(">IIBBBBB", 80, 45, 8, 2, 0, 0, 0)))),
        "undecodable",
        "claims (80, 45) pixels too",
    ),
    "a PNG with a text that unpacks to 100 MB": Case(
        write(png(8, 2, b"\x80" * 480, chunk(b"zTXt", b"Comment\0\0" + unpacking_to(100)))),
        "undecodable",
        NOT_DECODED,
    ),
    "a JPEG of 100,000 comments": Case(
        write(JPEG[:2] + b"\xff\xfe\0\2" * 100_000 + JPEG[2:]), "refused", "without an image"
    ),
    "a JPEG of a megabyte of filling": Case(write(JPEG[:2] + b"\xff" * 1_000_000 + JPEG[2:]), "refused", NOT_DECODED),
    # Sizes.
    "another size": Case(write(encoded("JPEG", size=(80, 45))), "refused", "calibration would be off"),
    "width and height changed about": Case(write(encoded("JPEG", size=IMAGE_SIZE[::-1])), "refused", "calibration"),
    "a JPEG without height": Case(write(patched(JPEG, FRAME + 5, b"\0\0")), "refused", "calibration would be off"),
    # Kinds of pixels.
    "a PNG named jpg": Case(write(PNG), "used"),
    "a grey JPEG": Case(write(encoded("JPEG", "L")), "used"),
    "a JPEG for print": Case(write(encoded("JPEG", "CMYK")), "used"),
    "a progressive JPEG": Case(write(encoded("JPEG", progressive=True)), "used"),
    "a JPEG with padding": Case(write(JPEG + bytes(3_000)), "used"),
    "a JPEG with something appended": Case(write(JPEG + b"motion" * 30_000), "used"),
    "a JPEG with filled up markers": Case(write(JPEG[:2] + b"\xff\xff" + JPEG[2:]), "used"),
    "a JPEG with a preview": Case(write(JPEG[:2] + THUMBNAIL + JPEG[2:]), "used"),
    "a JPEG of 12 bits": Case(write(patched(JPEG, FRAME + 4, b"\x0c")), "refused", "of 12 bits"),
    "a lossless JPEG": Case(write(patched(JPEG, FRAME + 1, b"\xc3")), "refused", "a JPEG of kind 0xc3"),
    "a PNG with a palette": Case(write(encoded("PNG", "P")), "used"),
    "a PNG with transparency": Case(write(encoded("PNG", "RGBA")), "used"),
    "a PNG in black and white": Case(write(encoded("PNG", "1")), "used"),
    "a PNG of 16-bit colours": Case(write(png(16, 2, b"\x80\0" * 480)), "used"),
    "a PNG of 16-bit grey": Case(write(png(16, 0, b"\x80\0" * 160)), "refused", "16 bits of pixel kind 0"),
    "a PNG that moves": Case(
        write(encoded("PNG", save_all=True, append_images=[Image.new("RGB", IMAGE_SIZE)])), "used"
    ),
    "a PNG of an unknown kind": Case(write(png(8, 5, b"\x80" * 160)), "refused", "pixel kind 5"),
    # What only decoding shows.
    "a JPEG with a broken table": Case(
        write(patched(JPEG, JPEG.index(b"\xff\xc4") + 5, b"\xff" * 16)), "undecodable", NOT_DECODED
    ),
    "a PNG with broken pixels": Case(
        write(patched(PNG, len(PNG) // 2, b"\xff" * (len(PNG) // 4))), "undecodable", NOT_DECODED
    ),
    # A JPEG has no checksum: its decoder goes on with whatever comes.
    "a JPEG with other pixels": Case(write(patched(JPEG, len(JPEG) // 2, bytes(40))), "used"),
    "a PNG without pixels": Case(write(png(8, 2, b"").replace(b"IDAT", b"aDAT")), "undecodable", NOT_DECODED),
}


def read_cases(root: Path, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What comes of each case, in roots below ``folder``."""
    from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

    read(NuScenesDataset(Config(version=VERSION), dataroot=root))  # and whatever is imported on the way
    opened: list[Any] = []
    sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
    for number, (name, case) in enumerate(CASES.items()):
        own, outside = folder / str(number) / "root", folder / str(number) / "outside"
        shutil.copytree(root, own)
        outside.mkdir()
        (outside / "picture.jpg").write_bytes(JPEG)
        case.spoil(own, outside)
        roots = [own, outside] if case.is_linked_root else [own]
        opened.clear()
        started_s = time.perf_counter()
        try:
            config = Config(version=VERSION, linked_roots=[str(path) for path in roots[1:]])
            result = read(NuScenesDataset(config, dataroot=own))
        except ValueError as error:
            result = {"refused": str(error)}
        result["seconds"] = time.perf_counter() - started_s
        result["outside"] = [str(path) for path in opened if not is_allowed(path, roots)]
        yield name, result
        shutil.rmtree(folder / str(number))


def read(dataset: Any) -> dict[str, Any]:
    """As ingestion does: what the audit finds of the camera files, then the image of the keyframe."""
    from dima_pipeline.curation.audit import audit_scene

    dataset.fingerprint(SCENE)
    dataset.camera_files(SCENE)
    tables = dataset.tables(SCENE)
    findings = audit_scene(dataset, SCENE, tables, missing_images="drop")
    found = [vars(finding) for finding in findings if "image" in finding.check]
    if any(finding["severity"] == "error" for finding in found):
        return {"refused": found[0]["message"], "finding": found[0]}
    try:
        image = dataset.images(tables.samples.iloc[INDEX], (24, 40))[CAMERA]
    except ValueError as error:
        return {"undecodable": str(error)}
    return {"missing": found[0]["message"]} if image is None else {"used": str(image.shape)}


def is_allowed(path: Any, roots: list[Path]) -> bool:
    """Whether a file that was opened lies in the roots; what has no name was opened by its name before."""
    if isinstance(path, int):
        return True
    real = Path(os.path.realpath(os.fsdecode(path)))
    return any(real.is_relative_to(root.resolve()) for root in roots)


if __name__ == "__main__":
    results = dict(read_cases(Path(sys.argv[1]), Path(sys.argv[2])))
    # Not getrusage: its peak begins with that of the process which started this one.
    peak_mb = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    print(json.dumps({"cases": results, "peak_mb": peak_mb}))  # noqa: T201
