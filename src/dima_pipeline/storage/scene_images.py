"""The camera images of one scene: one file of pixels and a sidecar, which is written last and says what lies where.

Raw pixels are mapped and never decoded: the fastest at every resolution. JPEG takes a tenth of the bytes, and the time
of decoding hides the disk (``benchmarks/shards.py``).
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8
from PIL import Image

from dima_pipeline.contracts.frames import CAMERAS, CONTRACT_VERSION
from dima_pipeline.storage.manifest import digest, write_durably

Images = UInt8[np.ndarray, "C H W 3"]
SIDECAR = ".scene.parquet"
SUFFIXES = {"raw": ".npy", "jpeg": ".jpegs"}
RAW_UP_TO_PIXELS = 26_000
"""``encoding: auto`` keeps raw pixels up to here: those of trainval (34,149 keyframes) then take at most 16 GB and stay
in the page cache. At 640x384 they would take 151 GB and as JPEG 15 GB, which a core decodes at 34 windows a second.
"""
JPEG_QUALITY = 95
SCHEMA = pa.schema(
    [
        pa.field("scene_token", pa.string(), nullable=False),
        pa.field("sample_token", pa.string(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("source_bytes", pa.int64()),
        pa.field("source_sha256", pa.string()),
    ]
)
"""One row an image, keyframes in order, ``CAMERAS`` in order. ``offset`` and ``length``: bytes in the scene's file."""
_STAMP = b"image_shards"


class ImageSource(NamedTuple):
    """The file that an image was made from."""

    path: str
    """Relative to the dataroot, as the tables name it."""
    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, dataroot: Path, path: str) -> "ImageSource":
        """Read size and digest of ``dataroot / path``; raises ``OSError`` where it cannot be read."""
        return cls(path, (dataroot / path).stat().st_size, digest(dataroot / path))


class KeyframeImages(NamedTuple):
    """What is stored of one keyframe, in the order of ``CAMERAS``."""

    images: Images
    """Black where missing."""
    sources: Sequence[ImageSource | None] = (None,) * len(CAMERAS)
    """None for an image that is missing or was rendered."""


@dataclass(frozen=True)
class ShardFormat:
    """How images are stored; ``choose`` says it in the words of a configuration."""

    image_size: tuple[int, int]
    """Height and width in pixels."""
    encoding: Literal["raw", "jpeg"]
    jpeg_quality: int | None
    """None for raw pixels."""

    @classmethod
    def choose(
        cls,
        image_size: tuple[int, int],
        encoding: Literal["auto", "raw", "jpeg"] = "auto",
        jpeg_quality: int = JPEG_QUALITY,
    ) -> "ShardFormat":
        """``auto`` decides by resolution.

        Raises ``ValueError`` for an unknown encoding or a quality outside 1 ... 100.
        """
        if encoding not in ("auto", *SUFFIXES):
            raise ValueError(f"encoding '{encoding}' is not known: auto, raw or jpeg")
        if not 1 <= jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality {jpeg_quality} is not within 1 ... 100")
        is_small = image_size[0] * image_size[1] <= RAW_UP_TO_PIXELS
        if encoding == "raw" or (encoding == "auto" and is_small):
            return cls(image_size, "raw", None)
        return cls(image_size, "jpeg", jpeg_quality)

    @property
    def image_bytes(self) -> int:
        """Of one image when decoded."""
        return self.image_size[0] * self.image_size[1] * 3

    def encode(self, image: UInt8[np.ndarray, "H W 3"]) -> bytes:
        """The same bytes for the same pixels and the same version of Pillow; a black image is an empty JPEG."""
        if self.encoding == "raw":
            return image.tobytes()
        if not image.any():
            return b""
        buffer = io.BytesIO()
        # Full chroma: lights are small, and the bytes are better spent there than on a higher quality.
        Image.fromarray(image).save(buffer, "JPEG", quality=self.jpeg_quality, subsampling="4:4:4")
        return buffer.getvalue()

    def decode(self, content: bytes) -> UInt8[np.ndarray, "H W 3"]:
        """The pixels of a JPEG that is not empty; raises ``ValueError`` for a damaged one or one of another size."""
        height, width = self.image_size
        try:
            with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
                if image.size != (width, height) or image.mode != "RGB":
                    raise ValueError(f"it is {image.mode} {image.size} instead of RGB {(width, height)}")
                return np.asarray(image)
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(str(error)) from None


@dataclass(frozen=True, eq=False)
class SceneShard:
    """A finished scene: its file of images and what its sidecar says of them."""

    path: Path
    format: ShardFormat
    num_bytes: int
    sha256: str
    images: pa.Table
    """With ``SCHEMA``."""

    @property
    def scene_token(self) -> str:
        """Token of the scene."""
        return self.path.name.removesuffix(SUFFIXES[self.format.encoding])

    @property
    def entry(self) -> dict[str, Any]:
        """The file as a manifest lists it."""
        return {"bytes": self.num_bytes, "sha256": self.sha256}


def write_scene(
    directory: Path,
    form: ShardFormat,
    scene_token: str,
    sample_tokens: Sequence[str],
    keyframes: Iterable[KeyframeImages],
) -> Path:
    """Write one scene and, last and at once, its sidecar, whose path is returned; one keyframe is held at a time.

    Scenes may be written side by side, each by one process. What was written before of the scene is replaced; where a
    process is killed there is no sidecar. Raises ``ValueError`` for a token that cannot name a file.
    """
    stem = file_stem(scene_token)
    for suffix in (SIDECAR, *SUFFIXES.values()):
        (directory / f"{stem}{suffix}").unlink(missing_ok=True)
    target = directory / f"{stem}{SUFFIXES[form.encoding]}"
    rows, num_bytes, sha256 = _write_images(target, form, len(sample_tokens), keyframes)
    sources = [source for _, _, source in rows]
    columns = {
        "scene_token": [scene_token] * len(rows),
        "sample_token": [token for token in sample_tokens for _ in CAMERAS],
        "camera": CAMERAS * len(sample_tokens),
        "offset": [offset for offset, _, _ in rows],
        "length": [length for _, length, _ in rows],
        "source": [source and source.path for source in sources],
        "source_bytes": [source and source.num_bytes for source in sources],
        "source_sha256": [source and source.sha256 for source in sources],
    }
    stamp = {"contract_version": CONTRACT_VERSION, "format": asdict(form), "bytes": num_bytes, "sha256": sha256}
    table = pa.Table.from_pydict(columns, SCHEMA).replace_schema_metadata({_STAMP: json.dumps(stamp)})
    write_durably(directory / f"{stem}{SIDECAR}", parquet_bytes(table))
    return directory / f"{stem}{SIDECAR}"


def file_stem(scene_token: str) -> str:
    """The token; raises ``ValueError`` for one that cannot name a file or would leave the directory."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", scene_token):
        raise ValueError(f"scene_token {scene_token!r} cannot name a file: up to 128 of A-Z a-z 0-9 _ - . are allowed")
    return scene_token


def _write_images(
    target: Path, form: ShardFormat, num_keyframes: int, keyframes: Iterable[KeyframeImages]
) -> tuple[list[tuple[int, int, ImageSource | None]], int, str]:
    """Offset, length and source of every image; bytes and digest of the file, taken while it is written."""
    rows: list[tuple[int, int, ImageSource | None]] = []
    header = _header(form, num_keyframes)
    offset, hasher = len(header), hashlib.sha256(header)
    staged = target.with_name(f".{target.name}.partial")
    with staged.open("wb") as file:
        file.write(header)
        for images, sources in keyframes:
            assert images.dtype == np.uint8 and images.shape == (len(CAMERAS), *form.image_size, 3), images.shape
            for image, source in zip(images, sources, strict=True):
                content = form.encode(image)
                file.write(content)
                hasher.update(content)
                rows.append((offset, len(content), source))
                offset += len(content)
        assert len(rows) == num_keyframes * len(CAMERAS), (len(rows), num_keyframes)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(target)
    return rows, offset, hasher.hexdigest()


def _header(form: ShardFormat, num_keyframes: int) -> bytes:
    """Makes a file of raw pixels one that ``numpy.load`` reads; empty for JPEG."""
    if form.encoding == "jpeg":
        return b""
    buffer = io.BytesIO()
    shape = (num_keyframes, len(CAMERAS), *form.image_size, 3)
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def parquet_bytes(table: pa.Table) -> bytes:
    """A file whose every page has a checksum."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue().to_pybytes()


def read_scene(sidecar: Path, *, check_digest: bool = False) -> SceneShard:
    """The finished scene of a sidecar, whose file of images is there and as long as it was.

    ``check_digest`` reads the file too. Raises ``ValueError`` that names what is missing, cut short, damaged or of
    another contract version: such a scene must be written again.
    """
    table = read_table(sidecar)
    try:
        stamp = json.loads(table.schema.metadata[_STAMP])
        version, content = stamp["contract_version"], stamp["format"]
        form = ShardFormat(tuple(content["image_size"]), content["encoding"], content["jpeg_quality"])
        stem = file_stem(sidecar.name.removesuffix(SIDECAR))
        path = sidecar.with_name(stem + SUFFIXES[form.encoding])
        shard = SceneShard(path, form, stamp["bytes"], stamp["sha256"], table)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{sidecar} is not the sidecar of a scene ({error}): write the scene again") from None
    if version != CONTRACT_VERSION:
        raise ValueError(f"{sidecar} has contract version {version}, this code reads {CONTRACT_VERSION}")
    check_size(path, shard.num_bytes)
    if check_digest and digest(path) != shard.sha256:
        raise ValueError(f"{path} is not what was written: its digest differs from {sidecar.name}")
    return shard


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A table with ``SCHEMA``, or ``columns`` of it; raises ``ValueError`` for a missing, damaged or foreign file."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: run ingestion again")
    try:
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}): run ingestion again") from None
    if not table.schema.equals(SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])):
        raise ValueError(f"{path} does not have the columns of image shards: run ingestion again")
    return table


def check_size(path: Path, num_bytes: int) -> None:
    """Raise ``ValueError`` for a file that is missing or cut short."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: run ingestion again")
    if path.stat().st_size != num_bytes:
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes instead of {num_bytes}, cut short: run ingestion again"
        )
