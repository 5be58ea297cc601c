"""What every slice of the family must keep, and that it finds an event planted by hand and not everything."""

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.slices import SLICES
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight

WALK = -3.0 + 0.75 * np.arange(6)


def town():
    """Scenes that hold one event of every slice, and an empty road."""
    around = np.array([0, 0, 0.8, 1.5, 2.6, 3.2, 3.2, 3.2, 2.6, 1.5, 0.6, 0, 0, 0, 0, 0], float)
    passing = np.stack([4.0 * np.arange(16), around, np.zeros(16)], -1)
    back_and_forth = from_speeds([2, 2, 2, -1, -1, -1, 2, 2, 2, 2], [0.6] * 3 + [0.4] * 3 + [0.6] * 3 + [0])
    squeezing = straight(8, 8.0, start_x=14.0)
    squeezing[:, 1] = [3.5, 3.5, 3.5, 2.0, 0.5, 0, 0, 0]
    tables = make_tables(
        HandScene(name="empty", ego=straight(12, 6.0)),
        HandScene(name="bend", ego=from_speeds([5.0] * 12, 0.2)),
        HandScene(name="start", ego=from_speeds([0.0] * 6 + [1, 2, 3, 4, 5, 5, 5])),
        HandScene(name="parked", ego=passing, actors={"van": Actor("truck", (22, -0.3, 0), "vehicle.parked")}),
        HandScene(name="turnabout", ego=back_and_forth),
        HandScene(
            name="works",
            ego=straight(12, 4.0),
            actors={f"cone{at}": Actor("traffic_cone", (22 + 2 * at, 3, 0)) for at in range(4)},
        ),
        HandScene(name="dark", ego=straight(8, 6.0), description="Night, big street"),
        HandScene(name="wet", ego=straight(8, 6.0), description="Rain, turn left"),
        HandScene(name="walker", ego=straight(12, 5.0), actors={"walker": Actor("pedestrian", (18, 2, 0))}),
        HandScene(
            name="crossing",
            ego=straight(6, 10.0),
            actors={"late": Actor("pedestrian", np.stack([np.full(6, 24.0), WALK, np.full(6, np.pi / 2)], -1))},
        ),
        HandScene(name="brake", ego=from_speeds([8.0] * 4 + [4.0] * 8)),
        HandScene(name="squeeze", ego=straight(8, 8.0), actors={"car": Actor("car", squeezing)}),
        HandScene(
            name="crowd",
            ego=straight(8, 2.0),
            actors={f"p{at}": Actor("pedestrian", straight(8, 1.0, start_x=at - 8.0, y=12.0)) for at in range(16)},
        ),
    )
    # Told to turn where it starts.
    is_told = tables.samples.sample_token.str.startswith("start-00")
    tables.samples["command_route"] = tables.samples.command_route.mask(is_told, "left")
    return tables


@pytest.fixture(scope="module")
def tables():
    return town()


@pytest.mark.parametrize("name", SLICES.names())
def test_it_finds_the_planted_event_and_not_everything(name, tables):
    members = SLICES.build(SLICES.parse(name)).members(tables)
    assert members.dtype == bool
    assert members.index.tolist() == tables.samples.sample_token.tolist()
    assert 0 < members.sum() < 0.3 * len(members)
    assert not members[members.index.str.startswith("empty")].any()


@pytest.mark.parametrize("name", SLICES.names())
def test_it_answers_the_same_whatever_the_order_of_the_rows(name, tables):
    before = SLICES.build(SLICES.parse(name)).members(tables)
    shuffled = type(tables)(**{key: table.sample(frac=1, random_state=7) for key, table in vars(tables).items()})
    after = SLICES.build(SLICES.parse(name)).members(shuffled)
    pd.testing.assert_series_equal(before.sort_index(), after.sort_index())


@pytest.mark.parametrize("name", SLICES.names())
def test_it_answers_for_a_scene_without_agents_future_and_speed(name):
    members = SLICES.build(SLICES.parse(name)).members(make_tables(HandScene(ego=straight(1, 0.0))))
    assert members.tolist() == [False]
