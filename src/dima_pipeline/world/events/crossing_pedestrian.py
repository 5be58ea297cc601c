"""Somebody steps on a pedestrian crossing in the middle of a block; the ego yields.

Truth: while that person walks and the ego is within 45 m.
"""

from dima_pipeline.world.events._shared import send_across, start_stage, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage, find_route


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage on a road with one lane each way and a crossing; none where there is no such road."""
    places = {crossing.road: crossing.along_m for crossing in town.crossings if crossing.is_midblock}
    found = find_route(town, rng, lambda lane, road: road.name in places and road.road_class.num_forward == 1)
    stage = start_stage(town, rng, found)
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    road = town.roads[lane.road]
    share = places[road.name] / road.curve.length
    send_across(stage, lane.curve.length * (share if lane.is_forward else 1 - share), "crossing_pedestrian")
    return with_traffic(stage, oncoming=1)
