"""Scene edits (DiMA, section 3): an agent is added to a keyframe or deleted from it, and the ego answers by rule.

The paper edits cars and trucks; pedestrians and cyclists are added here too. Half of the edits should matter: the
share so far decides whether next an agent is added that stands in the way or one that does not.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS
from dima_pipeline.curation.annotation_config import EditConfig
from dima_pipeline.curation.counterfactual import (
    DRIVEN_MARGIN_M,
    STEP_TIMES_S,
    Answer,
    Boxes,
    Options,
    agent_boxes,
    answer_to_blocking,
    answer_to_deleted,
    blocking,
    crossing_ahead,
    driven_boxes,
    is_standing,
    keep,
    matters,
    options,
    speed_now,
    touches,
)
from dima_pipeline.curation.edit_motions import Driven, driven_motions, poses_at_ticks, reverses
from dima_pipeline.curation.edit_places import Agent, candidates
from dima_pipeline.curation.edit_words import answer_to_add, answer_to_delete, question
from dima_pipeline.curation.road_surface import Surface, surface
from dima_pipeline.geometry import distance_to_polyline
from dima_pipeline.storage.keyframes import Keyframe

VEHICLES, VULNERABLE = ("car", "truck", "bus"), ("pedestrian", "bicycle", "motorcycle")
LEADER_GAP_M = 16.0
STANDING_ADD_SHARE = 0.15
LEADER_MPS = 4.0
PASSABLE_MPS = 0.5
NUM_TRIED = 12
"""Candidates that are answered for a keyframe, until one matters, or not, as is wanted."""


@dataclass
class _Tally:
    """Edits of a scene so far, and how many of them matter."""

    num: int = 0
    num_mattering: int = 0

    def wants_more(self, share: float) -> bool:
        return self.num_mattering <= share * self.num

    def count(self, row: dict[str, Any]) -> dict[str, Any]:
        self.num += 1
        self.num_mattering += row["matters"]
        return row


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """A keyframe that can be edited."""

    frame: Keyframe
    driven: Driven
    kept: Float[np.ndarray, "31 5"]
    """Ego boxes along the driven path."""
    ground: Surface
    others: Boxes


def scene_edit_rows(
    config: EditConfig, frames: list[Keyframe], rng: np.random.Generator, left_alone: Counter[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of ``contracts.tables.SceneEditRows`` for the keyframes of one scene, at most one a keyframe.

    ``left_alone`` counts the keyframes without an edit by reason: ``not chosen``, ``no future``, ``reverses``,
    ``not drivable``, ``driver touches somebody``, ``nothing fits``.
    """
    left_alone = Counter() if left_alone is None else left_alone
    tally = _Tally()
    for scene in _editable(config, frames, rng):
        if isinstance(scene, str):
            left_alone[scene] += 1
            continue
        # Nothing added matters to an ego that stands: there, deleting a leader is the better question.
        share = config.add_share * (STANDING_ADD_SHARE if is_standing(scene.frame) else 1.0)
        wants = tally.wants_more(config.matter_share)
        row = (_add(config, scene, rng, wants) if rng.random() < share else None) or _delete(config, scene, rng)
        if row is None:
            left_alone["nothing fits"] += 1
        else:
            yield tally.count(row)


def leader_row(frame: Keyframe) -> int | None:
    """The agent that holds the ego: the first thing on its path, near, and both of them slow; None without one."""
    ego_mps = float(np.linalg.norm(frame.ego_future[-1, :2])) / STEP_TIMES_S[-1]
    if ego_mps > LEADER_MPS:
        return None
    path = frame.expected_path(30.0)
    reach = (frame.box[:, 4] + 1.0) / 2
    in_way = (frame.box[:, 0] > 0) & (distance_to_polyline(frame.box[:, :2], path) < reach)
    rows = sorted(np.flatnonzero(in_way), key=lambda row: frame.box[row, 0])
    if not rows or frame.categories[rows[0]] not in (*VEHICLES, *VULNERABLE) or frame.box[rows[0], 0] > LEADER_GAP_M:
        return None
    is_slow = np.linalg.norm(np.nan_to_num(frame.velocity[rows[0]])) <= LEADER_MPS
    return int(rows[0]) if is_slow else None


def _editable(config: EditConfig, frames: list[Keyframe], rng: np.random.Generator) -> Iterator[_Scene | str]:
    """The keyframes with all that editing them needs, or why they are left alone."""
    chosen = rng.random(len(frames)) < config.keyframe_share
    known = [at for at, frame in enumerate(frames) if chosen[at] and frame.has_future and not reverses(frame)]
    speeds = [speed_now(frames[at]) for at in known]
    driven = dict(zip(known, driven_motions([frames[at] for at in known], speeds), strict=True))
    for at, frame in enumerate(frames):
        motion = driven.get(at)
        if motion is not None:
            kept, others = driven_boxes(frame), agent_boxes(frame)
            if touches(kept, others, DRIVEN_MARGIN_M):
                yield "driver touches somebody"
            else:
                yield _Scene(frame=frame, driven=motion, kept=kept, ground=surface(frame), others=others)
        elif at in driven:
            yield "not drivable"
        else:
            yield "not chosen" if not chosen[at] else "reverses" if frame.has_future else "no future"


def _add(config: EditConfig, scene: _Scene, rng: np.random.Generator, wants: bool) -> dict[str, Any] | None:
    frame = scene.frame
    agents = candidates(config, frame, scene.ground, scene.others, rng)
    if not agents:
        return None
    is_blocking = blocking(scene.kept, np.stack([agent.boxes for agent in agents]))
    found: Options | None = None
    chosen: tuple[Agent, Answer] | None = None
    for at in np.argsort(is_blocking != wants, kind="stable")[:NUM_TRIED]:
        answer: Answer | None = keep(frame, scene.driven)
        if is_blocking[at]:
            found = found or options(frame, scene.driven, scene.ground, scene.others)
            answer = answer_to_blocking(found, agents[at].boxes, _is_passable(agents[at]))
        if answer is None:
            continue
        if matters(answer.path, frame.ego_future[:, :2]) == wants:
            chosen = (agents[at], answer)
            break
        chosen = chosen or (agents[at], answer)
    if chosen is None:
        return None
    text = answer_to_add(chosen[1].label, chosen[1].side, chosen[0], ego_stands=is_standing(frame))
    return _row(frame, "add", *chosen, (question("add", chosen[0], rng), text))


def _is_passable(agent: Agent) -> bool:
    return bool(np.linalg.norm(agent.velocity) < PASSABLE_MPS) or agent.category == "bicycle"


def _delete(config: EditConfig, scene: _Scene, rng: np.random.Generator) -> dict[str, Any] | None:
    frame = scene.frame
    is_vulnerable = rng.random() < config.vulnerable_share
    rows = _nearest(config, frame, VULNERABLE if is_vulnerable else VEHICLES)
    if not rows and config.vulnerable_share:
        rows = _nearest(config, frame, VEHICLES if is_vulnerable else VULNERABLE)
    if not rows:
        return None
    leader = leader_row(frame)
    # A held ego is rare and instructive: its leader is deleted every second time.
    row = leader if leader in rows and rng.random() < 0.5 else int(rng.choice(rows))
    agent = _recorded(frame, row)
    was_leader = row == leader
    answer = answer_to_deleted(frame, scene.driven, scene.ground, scene.others.without(row), was_leader)
    text = answer_to_delete(
        answer.label,
        agent,
        ego_stands=is_standing(frame),
        was_leader=was_leader,
        before_crossing=crossing_ahead(frame),
    )
    return _row(frame, "delete", agent, answer, (question("delete", agent, rng), text))


def _nearest(config: EditConfig, frame: Keyframe, categories: tuple[str, ...]) -> list[int]:
    """Rows of the nearest seen agents of some categories whose future is known."""
    rows = np.argsort(np.linalg.norm(frame.box[:, :2], axis=1), kind="stable")
    good = frame.is_visible & frame.future_valid.all(1) & np.isin(np.array(frame.categories, object), categories)
    return [int(row) for row in rows if good[row]][: config.num_nearest]


def _recorded(frame: Keyframe, row: int) -> Agent:
    poses = np.concatenate([frame.box[row, :3][None], frame.future[row]])
    size = (float(frame.box[row, 3]), float(frame.box[row, 4]))
    pose = poses_at_ticks(poses[None])[0]
    return Agent(frame.instances[row], frame.categories[row], size, np.nan_to_num(frame.velocity[row]), pose)


def _row(frame: Keyframe, kind: str, agent: Agent, answer: Answer, words: tuple[str, str]) -> dict[str, Any]:
    x, y, yaw, length, width = (float(value) for value in agent.box)
    motion = answer.motion
    return {
        "sample_token": frame.sample_token,
        "kind": kind,
        "instance_token": agent.token,
        "category": agent.category,
        **{"x_m": x, "y_m": y, "yaw_rad": yaw, "length_m": length, "width_m": width},
        "vx_mps": float(agent.velocity[0]),
        "vy_mps": float(agent.velocity[1]),
        "future": agent.future[:, :2].ravel().tolist(),
        "future_yaw_rad": agent.future[:, 2].tolist(),
        "path": answer.path.ravel().tolist(),
        "path_valid": [True] * NUM_FUTURE_STEPS,
        "speed_mps": float(motion.speed_mps[0, 0]),
        "acceleration_mps2": motion.acceleration_mps2[0].tolist(),
        "steering_rad": motion.steering_rad[0].tolist(),
        "label": answer.label,
        "question": words[0],
        "answer": words[1],
        "matters": matters(answer.path, frame.ego_future[:, :2]),
    }
