"""The path of a three-point turn, wherever between two samples of the road it begins."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.world.curves import Curve
from dima_pipeline.world.paths import THREE_POINT_RADIUS_M, three_point_path


@given(st.floats(40.0, 50.0), st.floats(85.0, 100.0))
def test_a_three_point_turn_is_never_tighter_than_the_steering_allows(turn_at: float, length: float) -> None:
    there = Curve((0.0, -1.45, 0.0), ((length, 0.0),))
    back = Curve((0.0, 1.45, 0.0), ((length, 0.0),)).reversed()
    path, begin, end = three_point_path(there, back, turn_at, 4.3)
    assert np.abs(path.curvature()).max() < 1.02 / THREE_POINT_RADIUS_M
    assert begin < end < path.length and abs(path.poses[-1, 1] - 1.45) < 1e-6
