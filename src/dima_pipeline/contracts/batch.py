"""What models and serving exchange: frozen dataclasses of arrays, numpy here, torch tensors inside ``models/``.

Legend: B batch · C cameras · H W image · Q BEV cells · A agents · M map elements · P polyline points · D token width ·
K modes · T future steps · N frames · L text · V vocabulary. ``SceneBatch`` holds only what the car knows,
``SceneTargets`` holds ground truth: ``encode`` and ``plan`` receive only the first, so a leak is a type error.
"""

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Array = Any
"""A numpy array or a torch tensor: the contract fixes shapes and meaning, not the library."""


@dataclass(frozen=True, kw_only=True)
class SceneBatch:
    """What the car knows at one keyframe."""

    images: UInt8[Array, "B C H W 3"]
    """RGB, cameras in the order of ``frames.CAMERAS``; a missing image is black and not valid."""
    image_from_ego: Float[Array, "B C 3 4"]
    """Projects homogeneous ego points (m) to (u*w, v*w, w), u and v in pixels of ``images``, w the depth in metres."""
    camera_valid: Bool[Array, "B C"]
    command: Int[Array, "B"]
    """Index into ``frames.COMMANDS``; never derived from the driven future unless a configuration asks for it."""
    prev_from_ego: Float[Array, "B 3"]
    """x, y (m) and yaw (rad) of this ego frame in the previous keyframe's ego frame: aligns the BEV memory."""


@dataclass(frozen=True, kw_only=True)
class BevMemory:
    """The recurrent state of a planner, an explicit input and output of the exported one."""

    bev: Float[Array, "B Q D"]
    is_valid: Bool[Array, "B"]
    """False resets: the state is ignored, as at the first keyframe of a scene."""


@dataclass(frozen=True, kw_only=True)
class SceneTargets:
    """Ground truth of one keyframe, in its ego frame. Masked entries are zero."""

    ego_future: Float[Array, "B T 3"]
    """x, y (m) and yaw (rad), absolute, at 0.5 ... 3.0 s."""
    ego_future_valid: Bool[Array, "B T"]
    agent_box: Float[Array, "B A 7"]
    """x, y (m), yaw (rad), length, width (m), vx, vy (m/s)."""
    agent_category: Int[Array, "B A"]
    """Index into ``frames.AGENT_CATEGORIES``."""
    agent_valid: Bool[Array, "B A"]
    agent_future: Float[Array, "B A T 2"]
    agent_future_valid: Bool[Array, "B A T"]
    map_points: Float[Array, "B M P 2"]
    map_kind: Int[Array, "B M"]
    """Index into ``frames.MAP_KINDS``."""
    map_valid: Bool[Array, "B M"]


@dataclass(frozen=True, kw_only=True)
class SceneEdits:
    """One scene edit a sample: a vehicle added to or deleted from the scene, and what the ego should then do."""

    kind: Int[Array, "B"]
    """0 none, 1 add, 2 delete."""
    box: Float[Array, "B 7"]
    """The added or deleted vehicle, columns as in ``SceneTargets.agent_box``."""
    category: Int[Array, "B"]
    future: Float[Array, "B T 2"]
    """Positions of the added or deleted vehicle at 0.5 ... 3.0 s."""
    path: Float[Array, "B T 2"]
    """Counterfactual ego path in the edited scene."""
    path_valid: Bool[Array, "B T"]


@dataclass(frozen=True, kw_only=True)
class SceneWindow:
    """Consecutive keyframes around the present one; missing frames repeat the nearest one and are not valid."""

    past: tuple[SceneBatch, ...]
    """Oldest first."""
    past_valid: Bool[Array, "B N"]
    current: SceneBatch
    future: tuple[SceneBatch, ...]
    """t+1, t+2: encoded without gradient, as targets of future-BEV prediction only."""
    future_valid: Bool[Array, "B N"]


@dataclass(frozen=True)
class VqaPair:
    """A question about one keyframe and its answer, in DriveLM's categories (``frames.VQA_CATEGORIES``)."""

    sample_token: str
    category: str
    question: str
    answer: str
    objects: tuple[str, ...] = ()
    """Instance tokens the pair speaks of."""
    source: str = "rules"
    """``rules``, ``drivelm``, ``llm:<model name>`` or ``human``."""
    reason: str | None = None
    """What is flagged about the pair where it comes from."""

    @property
    def pair_id(self) -> str:
        """16 hex digits from all that the pair says: another annotation that says the same has the same."""
        said = (self.sample_token, self.category, self.question, self.answer, self.source)
        return hashlib.sha256("\x1f".join(said).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """What one optimiser step consumes."""

    sample_tokens: tuple[str, ...]
    window: SceneWindow
    targets: SceneTargets
    edits: SceneEdits
    pairs: tuple[tuple[VqaPair, ...], ...]
    """Questions a sample, B long; inner tuples may be empty."""
    edit_pairs: tuple[tuple[VqaPair, ...], ...]
    """The question and answer about the edit of each sample; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class BeamTokens:
    """BEV, ego, agent and map tokens: contextual outputs of the scene encoder (DiMA section 3)."""

    bev: Float[Array, "B Q D"]
    ego: Float[Array, "B 1 D"]
    agent: Float[Array, "B A D"]
    map: Float[Array, "B M D"]
    agent_valid: Bool[Array, "B A"]
    map_valid: Bool[Array, "B M"]
    agent_center: Float[Array, "B A 2"] | None = None
    """x, y (m) of what each token speaks of, without gradient; None for a planner that does not say."""
    map_center: Float[Array, "B M 2"] | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a planner returns."""

    trajectory: Float[Array, "B T 2"]
    """Absolute positions (m) in the ego frame at 0.5 ... 3.0 s, for the command of the batch."""
    features: Float[Array, "B F"]
    """Penultimate features of the trajectory head: what distillation compares."""


def take(batch: SceneBatch, index: Any) -> SceneBatch:
    """The samples ``index`` (slice, integer array) of a batch, as a batch."""
    return type(batch)(**{field.name: getattr(batch, field.name)[index] for field in fields(batch)})


def empty_memory(batch_size: int, num_cells: int, token_dim: int) -> BevMemory:
    """A reset memory: zeros, not valid."""
    bev = np.zeros((batch_size, num_cells, token_dim), np.float32)
    return BevMemory(bev=bev, is_valid=np.zeros(batch_size, bool))
