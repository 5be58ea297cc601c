"""Planners: what ships, without an LLM. A new one is one file with ``Config`` and ``build``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

if TYPE_CHECKING:
    from dima_pipeline.contracts.batch import BeamTokens, BevMemory, Plan, SceneBatch, SceneTargets

PLANNERS = Family(__name__)
PlannerSpec = Annotated[Any, BeforeValidator(PLANNERS.parse)]


class Planner(Protocol):
    """A torch module; ``build(config, *, image_size)`` with ``image_size`` = (height, width) in pixels."""

    token_dim: int
    feature_dim: int
    num_bev_cells: int
    bev_shape: tuple[int, int]
    """Rows along x (from x_max to x_min), columns along y (from y_max to y_min) of the BEV cells."""

    def encode(self, batch: SceneBatch, memory: BevMemory) -> tuple[BeamTokens, BevMemory]:
        """Scene tokens and the next memory; knows nothing of ground truth."""

    def plan(self, beam: BeamTokens, batch: SceneBatch) -> Plan:
        """The trajectory for the command of the batch."""

    def trajectory_of(self, features: Any, command: Any) -> Any:
        """The last layers after ``Plan.features`` (B, F): the trajectory (B, T, 2) for ``command`` (B)."""

    def losses(self, beam: BeamTokens, plan: Plan, batch: SceneBatch, targets: SceneTargets) -> dict[str, Any]:
        """Named scalar terms (``trajectory_l1``, ``agent_class``, ...), finite, >= 0, differentiable."""
