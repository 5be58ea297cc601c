"""What the arms perceive, in metres and against chance, and a planner that is not shown its map."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from dima_pipeline.contracts.batch import BeamTokens, Plan, SceneBatch, SceneTargets
from dima_pipeline.contracts.frames import MAP_KINDS
from dima_pipeline.planners.vad import VadPlanner

NEAR_M = 2.0
"""How close a found agent must be: nuScenes' middle distances of matching."""
FAR_M = 10.0
"""A map element that nothing of its kind was said of counts as so far away."""


class MapHidden:
    """A trained planner whose ego meets no map element."""

    def __init__(self, planner: Any) -> None:
        self._planner = planner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._planner, name)

    def plan(self, beam: BeamTokens, batch: SceneBatch) -> Plan:
        """See ``planners.Planner``."""
        return self._planner.plan(hide_map(self._planner, beam), batch)


def hide_map(planner: Any, beam: BeamTokens) -> BeamTokens:
    """``beam`` as if the ego had met zeros in place of the map."""
    nothing = torch.zeros_like(beam.map)
    if isinstance(planner, VadPlanner):  # its ego token has met the map once before it plans
        return replace(beam, map=nothing, ego=planner.ego(beam.bev, beam.agent, nothing))
    return replace(beam, map=nothing)


def read_out(planner: VadPlanner, beams: Mapping[str, BeamTokens]) -> dict[str, tuple[np.ndarray, ...]]:
    """What a planner's heads say of each keyframe: agents' centres (A, 2) and whether they are any (A), the map's
    polylines (M, P, 2) and kinds (M), -1 for none."""
    found = {}
    with torch.no_grad():
        for token, beam in beams.items():
            said, kinds = planner.agent_head.classify(beam.agent)[0], planner.map_head.classify(beam.map)[0].argmax(-1)
            centers, points = planner.agent_head.boxes(beam.agent)[0, :, :2], planner.map_head.points(beam.map)[0]
            is_any = said.argmax(-1) < said.shape[-1] - 1
            kinds = torch.where(kinds < len(MAP_KINDS), kinds, -1)
            found[token] = tuple(value.numpy() for value in (centers, is_any, points, kinds))
    return found


def num_found(centers: Float[np.ndarray, "A 2"], true: Float[np.ndarray, "N 2"]) -> int:
    """How many true agents have a said one of their own within ``NEAR_M``."""
    near = np.linalg.norm(centers[:, None] - true[None], axis=-1) <= NEAR_M
    return int(near[linear_sum_assignment(~near)].sum())


def chamfer(said: Float[np.ndarray, "K P 2"], true: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, "K"]:
    """Mean distance (m) from points to the nearest of the other polyline, both ways."""
    apart = np.linalg.norm(said[:, :, None] - true[None, None], axis=-1)
    return (apart.min(1).mean(-1) + apart.min(2).mean(-1)) / 2


def map_distance(
    points: Float[np.ndarray, "M P 2"], kinds: np.ndarray, true: Float[np.ndarray, "P 2"], kind: int
) -> float:
    """Chamfer distance (m) of a true element to the nearest said one of its kind, ``FAR_M`` at most."""
    return min(FAR_M, float(chamfer(points[kinds == kind], true).min(initial=FAR_M)))


def perceived(
    said: Mapping[str, tuple[np.ndarray, ...]], tokens: Sequence[str], shown: Sequence[str], targets: SceneTargets
) -> pd.DataFrame:
    """A row a keyframe of ``tokens``, judged by what was said of the keyframes ``shown``: agents there, found, said;
    map elements there and the sum of their distances."""
    rows = []
    for row, seen in enumerate(shown):
        centers, is_any, points, kinds = said[seen]
        there: Bool[np.ndarray, "A"] = targets.agent_valid[row]
        elements = np.flatnonzero(targets.map_valid[row])
        distances = [
            map_distance(points, kinds, targets.map_points[row, m], targets.map_kind[row, m]) for m in elements
        ]
        rows.append(
            {
                "sample_token": tokens[row],
                "agents": int(there.sum()),
                "found": num_found(centers, targets.agent_box[row, there, :2]),
                "found_said": num_found(centers[is_any], targets.agent_box[row, there, :2]),
                "said": int(is_any.sum()),
                "elements": len(elements),
                "distance_m": sum(distances),
            }
        )
    return pd.DataFrame(rows)
