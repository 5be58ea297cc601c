"""Somebody ahead slows down to a crawl or a halt and drives on; the ego follows.

Truth: at least two seconds in which the same moving vehicle is the one the ego follows, within 35 m.
"""

from dima_pipeline.world.events._shared import stage_on, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage, gates_of, lane_path


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage with a car, truck or bus 17-22 m ahead of the ego; none where no lane is long enough."""
    stage = stage_on(town, rng, "street", "avenue", min_m=60.0)
    if stage is None:
        return None
    path = lane_path(stage.route)
    start = stage.start_m + float(rng.uniform(17.0, 22.0))
    fast, slow = path.limit(start), max(float(rng.uniform(-2.5, 2.0)), 0.0)
    brake = float(rng.uniform(1.5, 3.5))
    plan = ((0.0, fast * 0.8), (brake, fast * 0.8), (brake + 3.0, slow), (brake + 6.5, slow), (brake + 10.0, fast))
    category = str(rng.choice(["vehicle.car", "vehicle.truck", "vehicle.bus.rigid"], p=[0.6, 0.25, 0.15]))
    stage.add(
        category, path=path, start_m=start, speed_mps=fast * 0.8, gates=gates_of(town, stage.route),
        center_ahead_m=3.0, speed_plan=plan, role="event", intention="brake",
    )  # fmt: skip
    return with_traffic(stage)
