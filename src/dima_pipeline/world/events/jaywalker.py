"""Somebody crosses, in plain view, where there is no crossing; the ego yields.

Truth: while that person walks and the ego is within 45 m.
"""

from dima_pipeline.world.events._shared import is_near_crossing, send_across, stage_on, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage with somebody 33-42 m ahead on the kerb; none where no straight lane is long enough."""
    stage = stage_on(town, rng, "street", "residential", "oneway", straight=True, min_m=70.0)
    if stage is None:
        return None
    along_m = stage.start_m + float(rng.uniform(33.0, 42.0))
    if is_near_crossing(stage, along_m):
        return None
    send_across(stage, along_m, "jaywalker")
    return with_traffic(stage, oncoming=1)
