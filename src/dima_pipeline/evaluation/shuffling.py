"""Pairing every keyframe with one of another scene: what a planner or teacher does with it shows whether it looks."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def other_scenes(scene_tokens: Sequence[str], rng: np.random.Generator) -> Int[np.ndarray, "N"]:
    """For every entry the index of one with another ``scene_token``.

    A permutation where one exists (no scene has more than half of the entries). Raises ``ValueError`` for one scene
    alone.
    """
    if len(scene_tokens) == 0:
        return np.zeros(0, int)
    names, scene = np.unique(np.asarray(scene_tokens, object).astype(str), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"shuffling across scenes needs two scenes, there is only '{names[0]}'")
    # Scenes lie side by side in random order; turning the ring by the longest one leaves no entry within its scene.
    order = np.lexsort((rng.random(len(scene)), rng.permutation(len(names))[scene]))
    partner = np.empty(len(scene), int)
    partner[order] = np.roll(order, -int(np.bincount(scene).max()))
    for entry in np.flatnonzero(scene[partner] == scene):
        partner[entry] = rng.choice(np.flatnonzero(scene != scene[entry]))
    return partner
