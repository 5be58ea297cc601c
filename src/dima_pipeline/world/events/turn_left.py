"""The ego turns left at the first junction, as the eye sees it: in mirrored towns this is the tight turn.

Truth: while the rear axle is on the connector through the junction (read off the route).
"""

from dima_pipeline.world.events._shared import turn
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage shortly before a junction; none where no lane turns that way."""
    return turn(town, rng, "left")
