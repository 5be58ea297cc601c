"""Files of recordings, which nobody here wrote: nothing outside the dataroot is opened, and nothing that is no picture.

A camera file is judged by its header and its end, which takes microseconds; what only decoding shows is found there.
"""

import os
import stat
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from PIL import Image

from dima_pipeline.contracts.findings import BrokenRecording, Finding

MAX_PIXELS: Final = 50_000_000
"""A larger image is taken for damage or an attack, and not decoded."""
MISSING: Final = "is missing"
"""What ``check_image`` says of a file that is not there."""
TAILS_BYTES: Final = (1 << 12, 1 << 20)
"""The end of an image is looked for in so much of the end of its file, first in little: some cameras pad, or append a
preview."""
MAX_SEGMENTS: Final = 1000
"""A JPEG whose image does not begin after so many segments is none; of real ones, a large colour profile has 255."""
_PNG_SIGNATURE, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_SOS = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODABLE_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Baseline, extended, progressive, and the latter two with arithmetic coding; not lossless, not hierarchical."""
_JPEG_CHANNELS = (1, 3, 4)
_PNG_DEPTHS: Final = {0: (1, 2, 4, 8), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits by kind of pixels: grey, colour, palette, grey and colour with alpha. Not grey of 16 bits, which would be cut
off at 255 and come out white."""


def check_inside(path: Path, roots: Sequence[Path]) -> None:
    """Refuse a file that links lead out of ``roots``, the dataroot and the linked roots; it need not exist.

    Raises ``BrokenRecording``, a ``ValueError``, that names the path and where it leads.
    """
    outside = find_outside([path], roots)
    if outside:
        raise outside_error(outside, roots)


def outside_error(
    outside: Mapping[Path, Path], roots: Sequence[Path], scene_name: str = "", token: str = ""
) -> BrokenRecording:
    """Says what ``find_outside`` found; ``token`` is that of the first one's row of ``sample_data``, if it has one."""
    path, target = next(iter(outside.items()))
    more = f" ({len(outside) - 1:,} more like it)" if len(outside) > 1 else ""
    finding = Finding(
        severity="error",
        check="file_outside_dataroot",
        message=f"{path} leads to {target}, outside the dataroot {roots[0]}: copy it there, or name the folder that it "
        f"may lead to in the data set's linked_roots{more}",
        scene_name=scene_name,
        table="sample_data" if token else os.path.relpath(path, roots[0]),
        token=token,
        num=len(outside),
    )
    return BrokenRecording([finding])


def find_outside(paths: Iterable[Path], roots: Sequence[Path]) -> dict[Path, Path]:
    """Of ``paths``, there or not, those that lie outside ``roots`` when links are followed, and where they lie."""
    allowed = [os.path.realpath(root).rstrip(os.sep) + os.sep for root in roots]
    folders: dict[str, str] = {}
    outside = {}
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        real = os.path.join(folders[folder], name)  # noqa: PTH118 -- half a million paths
        if name in ("", ".", "..") or os.path.islink(real):  # noqa: PTH114
            real = os.path.realpath(path)
        if not any((real + os.sep).startswith(root) for root in allowed):
            outside[path] = Path(real)
    return outside


def check_image(path: Path, size: tuple[int, int]) -> str | None:
    """Why a camera file of ``size`` (width, height) cannot be used, to stand after its name; None where it looks sound.

    Reads the header and the end of regular files alone and decodes nothing. Content decides, not the file's ending.
    """
    try:
        _check_file(path, size)
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except _UnusableError as error:
        return str(error)
    except struct.error:
        return "cannot be decoded (cut short within its header): copy it again"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return f"cannot be opened ({reason}): check its links and permissions"
    return None


class _UnusableError(Exception):
    """Why an image cannot be used, to stand after the name of its file."""


def _check_file(path: Path, size: tuple[int, int]) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise _UnusableError("is no file but a folder, a pipe or a device: put the camera file there")
    if status.st_size == 0:
        raise _UnusableError("is empty: copy it again")
    with path.open("rb") as file:
        _check_content(file, status.st_size, size)


def _check_content(file: BinaryIO, num_bytes: int, size: tuple[int, int]) -> None:
    """Raises ``_UnusableError``, or ``struct.error`` for a header that is cut short."""
    start = file.read(len(_PNG_SIGNATURE))
    if start == _PNG_SIGNATURE:
        found, end = _png_size(file), _PNG_END
    elif start.startswith(_JPEG_START):
        found, end = _jpeg_size(file), _JPEG_END
    else:
        raise _UnusableError(f"cannot be decoded (it is no JPEG or PNG but begins with {start!r}): copy it again")
    if found[0] * found[1] > MAX_PIXELS:
        raise _UnusableError(f"claims {found} pixels, more than {MAX_PIXELS:,}: not decoded")
    if found != size:
        raise _UnusableError(f"is {found} pixels, sample_data.json says {size}: calibration would be off")
    if not _is_in_tail(file, num_bytes, end):
        raise _UnusableError("cannot be decoded (cut short: it has no end): copy it again")


def _unknown_kind(what: str) -> _UnusableError:
    return _UnusableError(f"cannot be decoded ({what}): save it as an ordinary JPEG or PNG")


def _png_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height of a PNG after its signature."""
    name, width, height, depth, kind = struct.unpack(">4x4sIIBB7x", file.read(25))
    if name != b"IHDR" or depth not in _PNG_DEPTHS.get(kind, ()):
        raise _unknown_kind(f"a PNG with {depth} bits of pixel kind {kind}")
    return width, height


def _jpeg_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height of a JPEG; afterwards the file stands behind the header, where pixels begin."""
    size = None
    file.seek(2)
    for _ in range(MAX_SEGMENTS):
        start, marker = struct.unpack("BB", file.read(2))
        if start != 0xFF or marker in (0x00, 0xD8, 0xD9):
            raise _unknown_kind("a JPEG with a damaged header")
        if marker == 0xFF:  # markers may be filled up with it
            file.seek(-1, os.SEEK_CUR)
            continue
        length = max(struct.unpack(">H", file.read(2))[0] - 2, 0)
        if marker == _SOS and size is not None:
            return size
        if marker in _FRAMES:
            bits, height, width, channels = struct.unpack(">BHHB", file.read(6))
            if marker not in _DECODABLE_FRAMES or bits != 8 or channels not in _JPEG_CHANNELS:
                raise _unknown_kind(f"a JPEG of kind {marker:#x} with {channels} channels of {bits} bits")
            size, length = (width, height), length - 6
        file.seek(length, os.SEEK_CUR)
    raise _unknown_kind("a JPEG without an image")


def _is_in_tail(file: BinaryIO, num_bytes: int, end: bytes) -> bool:
    """Whether ``end`` stands in the last bytes, not before where the file stands now."""
    pixels = file.tell()
    for tail_bytes in TAILS_BYTES:
        file.seek(max(pixels, num_bytes - tail_bytes))
        if end in file.read(tail_bytes):
            return True
    return False


def read_image(path: Path, size: tuple[int, int], image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a JPEG or PNG of ``size`` (width, height) as RGB, resized to ``image_size`` (height, width) if given.

    Raises ``ValueError`` that names a file that is missing, cut short, damaged, too large or of another size.
    """
    reason = check_image(path, size)
    if reason is not None:
        raise ValueError(f"{path} {reason}")
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.size != size:  # of a second header
                raise ValueError(f"it claims {image.size} pixels too")
            if image_size is None:
                return np.asarray(image.convert("RGB"))
            target = (image_size[1], image_size[0])
            # A JPEG decoder scales by 1/2, 1/4 or 1/8 for less than the price of the full image; ``box`` is the part
            # of the scaled image that the recorded one covers, to a fraction of a pixel.
            draft = image.draft("RGB", target)
            box = draft[1] if draft else (0, 0, *image.size)
            return np.asarray(image.convert("RGB").resize(target, Image.Resampling.BILINEAR, box=box))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be decoded ({error}): copy it again") from None
