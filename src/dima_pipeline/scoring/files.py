"""Planned and driven paths among boxes in an ``.npz`` file, checked before anything is computed from them.

What a mask calls unknown is replaced here, so that no padding can change a number. Nothing is ever unpickled.
"""

import lzma
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.lib.npyio import NpzFile

from dima_pipeline.contracts.frames import LIDAR_AHEAD_OF_EGO_M, NUM_FUTURE_STEPS
from dima_pipeline.scoring.samples import FORWARD_RAD, KINDS, Frame, OpenLoopSamples, held

SHAPES: Final[dict[str, tuple[int | str, ...]]] = {
    "pred": ("N", NUM_FUTURE_STEPS, 2),
    "gt": ("N", NUM_FUTURE_STEPS, 2),
    "fut_mask": ("N", NUM_FUTURE_STEPS),
    "boxes": ("N", NUM_FUTURE_STEPS, "A", 5),
    "box_mask": ("N", NUM_FUTURE_STEPS, "A"),
    "kind": ("N", "A"),
}
FIRST_WITH: Final[dict[int | str, str]] = {"N": "pred", "A": "boxes"}
MASKS = ("fut_mask", "box_mask")
MAX_SIZE_M = 100.0
"""No agent is longer."""
MAX_VALUE = 1e6
"""m or rad; whoever is that far away is in another frame."""
MAX_LIDAR_AHEAD_M = 10.0
MIN_PATH_M, MIN_SHARE, MIN_BACKWARD_PATHS = 2.0, 0.9, 10
"""Paths that say something about the frame, the share of them that decides, and the fewest that do so by reversing."""
BROKEN_ARCHIVE = (
    ValueError,
    TypeError,
    SyntaxError,
    OSError,
    EOFError,
    LookupError,
    RuntimeError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
)
"""What numpy and zipfile raise for files that are cut short or changed."""


def read_samples(
    path: Path, frame: Frame, lidar_ahead_m: float = LIDAR_AHEAD_OF_EGO_M, check_frame: bool = True
) -> OpenLoopSamples:
    """The N samples of a file, in the order of its rows.

    Raises ``ValueError`` for whatever is wrong with the file: not an ``.npz``, a missing array, a wrong shape or type,
    a value that cannot be where a mask calls it known, and (``check_frame``) paths that lead sideways.
    """
    if not abs(lidar_ahead_m) <= MAX_LIDAR_AHEAD_M:
        raise ValueError(f"lidar_ahead_m is {lidar_ahead_m}: it lies within {MAX_LIDAR_AHEAD_M:g} m of the ego origin")
    arrays = read_arrays(path)
    check_shapes(arrays)
    masks = {name: _mask(name, arrays[name]) for name in MASKS}
    numbers = {name: _numbers(name, arrays[name]) for name in SHAPES if name not in MASKS}
    fut_mask = masks["fut_mask"]
    box_mask = masks["box_mask"] = masks["box_mask"] & fut_mask[..., None]
    for name, mask_name in (("pred", "fut_mask"), ("gt", "fut_mask"), ("boxes", "box_mask")):
        _check_values(name, numbers[name], mask_name, masks[mask_name])
    _check_sizes(numbers["boxes"], box_mask)
    samples = OpenLoopSamples(
        pred=held(numbers["pred"], fut_mask | _is_usable(numbers["pred"]).all(-1)),
        gt=held(numbers["gt"], fut_mask),
        fut_mask=fut_mask,
        boxes=np.where(box_mask[..., None], numbers["boxes"], 0.0),
        box_mask=box_mask,
        kind=_kinds(numbers["kind"], box_mask.any(1)),
        frame=frame,
        lidar_ahead_m=lidar_ahead_m,
    )
    if check_frame:
        check_direction(samples)
    return samples


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of ``SHAPES`` as they are in the file; raises ``ValueError`` where one is missing or unreadable."""
    with _opened(path) as file:
        missing = [name for name in SHAPES if name not in file.files]
        if missing:
            raise ValueError(f"{path} has no array {_listed(missing)}; it has {_listed(file.files) or 'none'}")
        return {name: _array(path, file, name) for name in SHAPES}


def _opened(path: Path) -> NpzFile:
    """An archive; looked at before numpy does, which would guess what else a file may be."""
    try:
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if start == b"\x93NUMPY":
        raise ValueError(f"{path} is a single .npy array: save all of {_listed(SHAPES)} with numpy.savez")
    if start[:2] != b"PK":
        raise ValueError(f"{path} is no .npz file: save {_listed(SHAPES)} with numpy.savez")
    try:
        opened: NpzFile = np.load(path, allow_pickle=False)
    except BROKEN_ARCHIVE as error:
        raise ValueError(f"{path} is a broken .npz file ({error}): write it again") from error
    return opened


def _array(path: Path, file: NpzFile, name: str) -> np.ndarray:
    try:
        array = file[name]
    except BROKEN_ARCHIVE as error:
        if "allow_pickle" in str(error):
            raise ValueError(f"array '{name}' holds Python objects, which are never loaded: save numbers") from error
        raise ValueError(f"array '{name}' of {path} cannot be read ({error}): write the file again") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"'{name}' in {path} is no array: save {_listed(SHAPES)} with numpy.savez")
    allowed = "biuf" if name in MASKS else "iuf"
    if array.dtype.kind not in allowed:
        wanted = "booleans or 0 and 1" if name in MASKS else "numbers (float32, float64 or integers)"
        raise ValueError(f"array '{name}' is of type {array.dtype}: expected {wanted}")
    return array


def check_shapes(arrays: dict[str, np.ndarray]) -> None:
    """Raises ``ValueError`` unless all arrays have the shapes of ``SHAPES`` with the same N (above 0) and A."""
    sizes: dict[int | str, int] = {}
    for name, shape in SHAPES.items():
        found = arrays[name].shape
        hints = [f"{symbol} = {sizes[symbol]} as in '{FIRST_WITH[symbol]}'" for symbol in shape if symbol in sizes]
        if len(found) == len(shape):
            sizes |= {symbol: found[shape.index(symbol)] for symbol, first in FIRST_WITH.items() if name == first}
        if found != tuple(sizes.get(symbol, symbol) for symbol in shape):
            expected = f"({', '.join(map(str, shape))})"
            hints += ["steps are 0.5, 1.0 ... 3.0 s"] * (NUM_FUTURE_STEPS in shape)
            raise ValueError(f"array '{name}' has shape {found}, expected {'; '.join([expected, *hints])}")
    if sizes["N"] == 0:
        raise ValueError("the arrays hold no samples (N = 0)")


def _mask(name: str, array: Shaped[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    _refuse(name, array, ~np.isin(array, (0, 1)), "expected booleans or 0 and 1")
    return array.astype(bool)


def _numbers(name: str, array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    # A long double may be too large for a double: it becomes inf, which is refused by name.
    with np.errstate(over="ignore"):
        return array.astype(np.float64)


def _is_usable(values: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    return np.abs(values) <= MAX_VALUE


def _check_values(name: str, values: np.ndarray, mask_name: str, known: np.ndarray) -> None:
    """Raises ``ValueError`` for what is not finite, or absurd, where it is known."""
    known = known[..., None]
    _refuse(name, values, known & ~np.isfinite(values), f"{mask_name} says that it is known")
    _refuse(name, values, known & ~_is_usable(values), "expected metres and radians in the frame at t=0")


def _check_sizes(boxes: Float[np.ndarray, "N T A 5"], known: Bool[np.ndarray, "N T A"]) -> None:
    size = boxes[..., 3:]
    is_absurd = known[..., None] & ~((size > 0) & (size <= MAX_SIZE_M))
    wanted = f"length and width (columns 3 and 4) lie above 0 and up to {MAX_SIZE_M:g} m where box_mask is true"
    _refuse("boxes", boxes, np.concatenate([np.zeros_like(boxes[..., :3], bool), is_absurd], -1), wanted)


def _kinds(kind: Float[np.ndarray, "N A"], is_used: Bool[np.ndarray, "N A"]) -> Int[np.ndarray, "N A"]:
    """Kinds as integers; 'other' for agents without a box."""
    wanted = "expected " + ", ".join(f"{index} {name}" for index, name in enumerate(KINDS))
    _refuse("kind", kind, is_used & ~np.isin(kind, range(len(KINDS))), wanted)
    return np.where(is_used, kind, KINDS.index("other")).astype(np.int64)


def _refuse(name: str, values: np.ndarray, is_wrong: np.ndarray, wanted: str) -> None:
    if is_wrong.any():
        index = tuple(int(place[0]) for place in np.nonzero(is_wrong))
        where = ", ".join(map(str, index))
        raise ValueError(f"array '{name}' is {values[index]} at [{where}]: {wanted}")


def check_direction(samples: OpenLoopSamples) -> None:
    """Raises ``ValueError`` where the driven paths lead sideways, or many of them backwards: it is another frame."""
    # The first place that is well away: a car leaves along its heading, however it turns later.
    is_away = (np.linalg.norm(samples.gt, axis=-1) > MIN_PATH_M) & samples.fut_mask
    end = samples.gt[np.arange(len(samples)), is_away.argmax(1)][is_away.any(1)]
    x, y = end.T
    forward, aside, axis = (y, x, "y") if samples.frame == "lidar" else (x, y, "x")
    is_sideways, is_backward = np.abs(aside) > np.abs(forward), forward < 0
    if len(end) and is_sideways.mean() >= MIN_SHARE:
        found, way, fits_other = is_sideways, "sideways", np.mean(aside[is_sideways] > 0) > 0.5
    elif len(end) >= MIN_BACKWARD_PATHS and is_backward.mean() >= MIN_SHARE:
        found, way, fits_other = is_backward, "backwards", False
    else:
        return
    other = next(name for name in FORWARD_RAD if name != samples.frame)
    advice = f"--frame {other} looks right" if fits_other else f"turn the arrays: --frame {other} does not fit either"
    raise ValueError(
        f"array 'gt' moves {way} in {found.sum()} of {len(end)} samples that move more than {MIN_PATH_M:g} m, but in "
        f"frame '{samples.frame}' {axis} is forward: {advice}; --no-frame-check scores them as they are"
    )


def _listed(names: object) -> str:
    return ", ".join(f"'{name}'" for name in names)  # type: ignore[attr-defined]
