"""The ego follows a road that bends.

Truth: while the rear axle is on a piece of the lane with a radius below ``truth.CURVE_RADIUS_M`` (read off the route).
"""

from dima_pipeline.world.events._shared import start_stage, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage, find_route, is_straight


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage at the start of a lane with a bend; none in a town of straight roads."""
    found = find_route(town, rng, lambda lane, road: not is_straight(lane) and lane.speed_mps > 5)
    stage = start_stage(town, rng, found)
    return stage and with_traffic(stage, cross=1)
