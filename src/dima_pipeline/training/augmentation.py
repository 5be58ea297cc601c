"""Augmentation of camera images: colours as in VAD's training, and a crop that the projection follows.

What is drawn is a function of seed, epoch and sample alone, and holds through the whole window, so that frames of one
camera stay comparable. Nothing mirrors or turns the scene: questions, answers and commands say left and right.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from dima_pipeline.contracts.batch import SceneBatch, SceneWindow
from dima_pipeline.training.config import AugmentationConfig

LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601: what is left of red, green and blue in grey."""
YIQ_FROM_RGB = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@dataclass(frozen=True)
class Change:
    """What becomes of the images of one sample, each camera by itself."""

    colour: Float[np.ndarray, "C 3 4"]
    """New from old RGB in 0 ... 255: a matrix and an offset."""
    crop: Float[np.ndarray, "C 3"]
    """Left and top as shares of width and height, and the share of both that is kept and enlarged to the whole."""


@dataclass(frozen=True)
class Augmentation:
    """Draws and applies changes; ``seed`` is that of the run."""

    config: AugmentationConfig
    seed: int

    def draw(self, sample_token: str, epoch: int, num_cameras: int) -> Change:
        """The same for the same seed, epoch and sample, whoever asks and in whatever order."""
        config = self.config
        sample = int.from_bytes(hashlib.sha256(sample_token.encode()).digest()[:8], "big")
        rng = np.random.default_rng([self.seed, epoch, sample])
        # Drawn whether they are used or not: one range leaves what is drawn for the others alone.
        unit = rng.uniform(-1, 1, (num_cameras, 5))
        place = rng.uniform(0, 1, (num_cameras, 2))
        kept = 1 - config.crop * np.abs(unit[:, 4:])
        return Change(
            colour=np.stack([self._colour(*values) for values in unit[:, :4]]),
            crop=np.concatenate([place * (1 - kept), kept], 1),
        )

    def _colour(self, brightness: float, contrast: float, saturation: float, hue: float) -> Float[np.ndarray, "3 4"]:
        """Saturation first, then hue, contrast (about black) and brightness; all of them are linear."""
        config = self.config
        share = 1 + config.saturation * saturation
        saturate = share * np.eye(3) + (1 - share) * LUMA
        cos, sin = np.cos(np.deg2rad(config.hue_deg) * hue), np.sin(np.deg2rad(config.hue_deg) * hue)
        turn = np.linalg.inv(YIQ_FROM_RGB) @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]] @ YIQ_FROM_RGB
        matrix = (1 + config.contrast * contrast) * turn @ saturate
        return np.column_stack([matrix, np.full(3, 255 * config.brightness * brightness)])

    def window(self, window: SceneWindow, sample_tokens: tuple[str, ...], epochs: np.ndarray) -> SceneWindow:
        """``window`` of the samples with their changes, the same for all its frames."""
        num_cameras = window.current.images.shape[1]
        changes = [
            self.draw(token, int(epoch), num_cameras) for token, epoch in zip(sample_tokens, epochs, strict=True)
        ]
        return replace(
            window,
            past=tuple(changed(frame, changes) for frame in window.past),
            current=changed(window.current, changes),
            future=tuple(changed(frame, changes) for frame in window.future),
        )


def changed(batch: SceneBatch, changes: list[Change]) -> SceneBatch:
    """Keyframes with one change a sample; cameras that are missing stay black."""
    images, projection = batch.images.copy(), batch.image_from_ego.copy()
    height, width = images.shape[2:4]
    for row, change in enumerate(changes):
        for camera in np.flatnonzero(batch.camera_valid[row]):
            left, top, kept = change.crop[camera]
            box = (left * width, top * height, (left + kept) * width, (top + kept) * height)
            images[row, camera] = change_image(images[row, camera], change.colour[camera], box)
            # Pixel centres lie at integer + 0.5 before and after, so there is no further offset.
            zoom = np.array([[1 / kept, 0, -box[0] / kept], [0, 1 / kept, -box[1] / kept], [0, 0, 1]])
            projection[row, camera] = zoom @ projection[row, camera]
    return replace(batch, images=images, image_from_ego=projection)


def change_image(
    image: UInt8[np.ndarray, "H W 3"], colour: Float[np.ndarray, "3 4"], box: tuple[float, float, float, float]
) -> UInt8[np.ndarray, "H W 3"]:
    """The part ``box`` (left, top, right, bottom in pixels) enlarged to the size of ``image``, in other colours."""
    picture = Image.fromarray(image)
    if box != (0, 0, *picture.size):
        picture = picture.resize(picture.size, Image.Resampling.BILINEAR, box=box)
    return np.asarray(picture.convert("RGB", tuple(colour.ravel().tolist())))
