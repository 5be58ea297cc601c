"""People on foot: the social-force model as pure functions of where everybody is and wants to go.

Everybody is drawn to a goal and pushed away by others, by the space of their next step, and by walls. Distances are
between bodies, where the paper has points. Helbing and Molnar, Social force model for pedestrian dynamics, Phys. Rev. E
51, 1995.
"""

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray
RELAXATION_S = 0.5
REPULSION_M2PS2, REACH_M = 2.1, 0.3
"""V0 and sigma of eq. 13."""
STRIDE_S = 2.0
"""Delta t of eq. 4: how far ahead of others one keeps clear."""
WALL_M2PS2, WALL_REACH_M = 10.0, 0.2
"""U0 and R of eq. 13."""
SIGHT_RAD, UNSEEN = np.deg2rad(100.0), 0.5
"""Half the angle of sight, and what a force from outside it counts, eq. 8."""
FASTEST = 1.3
"""Times the wanted speed, eq. 11."""
COMPANY = 0.15
"""What the repulsion counts between those who walk together."""
TINY = 1e-6


def accelerations(  # noqa: PLR0917
    positions: Float[Array, "*S N 2"],
    velocities: Float[Array, "*S N 2"],
    goals: Float[Array, "*S N 2"],
    wanted_mps: Float[Array, "*S N"],
    radii: Float[Array, "*S N"],
    walls: Float[Array, "*#S W 4"] | None = None,
    groups: Int[Array, "*S N"] | None = None,
) -> Float[Array, "*S N 2"]:
    """Acceleration (m/s2) of everybody, eq. 9 without chance; crowds (axes S) have nothing to do with each other.

    ``walls``: segments x1, y1, x2, y2 with the free side on their left, the same for all of a crowd or, with an axis N
    before W, some for each. ``groups``: who walks together has the same number; -1 is nobody's company.
    """
    toward, _ = _units(goals - positions)
    push = (wanted_mps[..., None] * toward - velocities) / RELAXATION_S
    each = repulsions(positions, velocities, radii)
    # A force that pushes along the wanted direction comes from behind; who wants to go nowhere sees all round.
    along = -(each * toward[..., :, None, :]).sum(-1)
    is_seen = along >= np.sqrt((each**2).sum(-1)) * np.cos(SIGHT_RAD)
    weight = np.where(is_seen | (wanted_mps == 0.0)[..., None], 1.0, UNSEEN)
    if groups is not None:
        together = (groups[..., :, None] == groups[..., None, :]) & (groups >= 0)[..., None]
        weight = np.where(together, COMPANY * weight, weight)
    push = push + (weight[..., None] * each).sum(-2)
    return push if walls is None else push + wall_forces(positions, walls)


def repulsions(
    positions: Float[Array, "*S N 2"], velocities: Float[Array, "*S N 2"], radii: Float[Array, "*S N"]
) -> Float[Array, "*S N N 2"]:
    """Force on each (axis before last but one) by each other: minus the gradient of V0 exp(-b / sigma), eq. 3 and 4.

    b is half the small axis of the ellipse about where the other is and where it will be a stride from now.
    """
    away = positions[..., :, None, :] - positions[..., None, :, :]
    stride = (velocities * STRIDE_S)[..., None, :, :]
    unit, near = _units(away)
    unit_later, near_later = _units(away - stride)
    total = near + near_later
    small = np.sqrt(np.maximum(total**2 - (stride**2).sum(-1), TINY)) / 2
    bodies = radii[..., :, None] + radii[..., None, :]
    strength = REPULSION_M2PS2 / REACH_M * np.exp(-np.maximum(small - bodies, -REACH_M) / REACH_M)
    strength = strength * (1.0 - np.eye(positions.shape[-2])) * total / (4 * small)
    return np.asarray(strength[..., None] * (unit + unit_later))


def wall_forces(positions: Float[Array, "*S N 2"], walls: Float[Array, "*#S W 4"]) -> Float[Array, "*S N 2"]:
    """Push away from the nearest point of each wall, eq. 5, and back from beyond it: the free side is on its left."""
    walls = walls if walls.ndim > positions.ndim else walls[..., None, :, :]
    begin, along = walls[..., :2], walls[..., 2:] - walls[..., :2]
    away = positions[..., None, :] - begin
    share = (away * along).sum(-1) / np.maximum((along**2).sum(-1), TINY)
    unit, distance = _units(away - np.clip(share, 0.0, 1.0)[..., None] * along)
    is_free = along[..., 0] * away[..., 1] >= along[..., 1] * away[..., 0]
    strength = WALL_M2PS2 / WALL_REACH_M * np.where(is_free, np.exp(-distance / WALL_REACH_M), -1.0)
    return np.asarray((strength[..., None] * unit).sum(-2))


def step(
    positions: Float[Array, "*S N 2"],
    velocities: Float[Array, "*S N 2"],
    accelerations_mps2: Float[Array, "*S N 2"],
    wanted_mps: Float[Array, "*S N"],
    seconds: float,
) -> tuple[Float[Array, "*S N 2"], Float[Array, "*S N 2"]]:
    """Positions and velocities ``seconds`` later; nobody is faster than 1.3 times as it wants, eq. 10 to 12.

    Who wants 0 m/s therefore stands still, whoever comes.
    """
    faster = velocities + accelerations_mps2 * seconds
    speed = np.sqrt((faster**2).sum(-1))
    faster = faster * np.minimum(1.0, FASTEST * wanted_mps / np.maximum(speed, TINY))[..., None]
    return positions + faster * seconds, faster


def _units(vectors: Float[Array, "... 2"]) -> tuple[Float[Array, "... 2"], Float[Array, "..."]]:
    """Directions and lengths; no direction where there is no length."""
    lengths = np.sqrt(vectors[..., 0] ** 2 + vectors[..., 1] ** 2)
    return vectors / np.maximum(lengths, TINY)[..., None], lengths
