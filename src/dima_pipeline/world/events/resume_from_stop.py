"""The ego halts at a stop line or a red light, lets others pass, and drives on.

Truth: from half a second before the ego moves again after a stop of at least a second, for three and a half seconds.
"""

from dima_pipeline.world.events._shared import start_stage, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage, find_route

RED_S = (8.0, 11.5)


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage shortly before a stop sign or a light that stays red for a while; none in a town without either."""
    lines = {name: line.kind for line in town.stop_lines for name in line.lanes if line.kind != "YIELD"}
    found = find_route(town, rng, lambda lane, road: lane.name in lines and lane.curve.length > 50)
    if found is None:
        return None
    lane = found[1]
    stage = start_stage(town, rng, found, before_end_m=12.0 + 3.0 * lane.speed_mps)
    signal = town.signal_of(lane)
    if stage is not None and signal is not None:
        stage.red = (signal.name, float(rng.uniform(*RED_S)))
    return stage and with_traffic(stage, cross=4)
