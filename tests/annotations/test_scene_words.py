"""Directions, counts, bands and lists in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import AGENT_CATEGORIES
from dima_pipeline.contracts.scene_words import DIRECTIONS, count_word, directions, distance_band, kinds


@pytest.mark.parametrize(
    ("bearing_deg", "name"),
    [(0, "front"), (29, "front"), (31, "front left"), (-31, "front right"), (120, "back left"), (180, "back")],
)
def test_a_bearing_falls_into_the_sector_of_a_camera(bearing_deg, name):
    bearing = np.radians(bearing_deg)
    assert DIRECTIONS[directions(10 * np.array([[np.cos(bearing), np.sin(bearing)]]))[0]] == name


@given(st.floats(-179.9, 179.9), st.floats(0.5, 60))
def test_mirroring_a_point_swaps_left_and_right(bearing_deg, distance):
    bearing = np.radians(bearing_deg)
    if min(abs((bearing_deg - edge + 180) % 360 - 180) for edge in range(-150, 181, 60)) < 1e-6:
        return  # On the edge of two sectors.
    point = distance * np.array([[np.cos(bearing), np.sin(bearing)]])
    name, mirrored = (DIRECTIONS[directions(side)[0]] for side in (point, point * [1, -1]))
    assert mirrored == name.translate({}) if name in ("front", "back") else mirrored.split()[0] == name.split()[0]
    assert ("left" in name) == ("right" in mirrored)


def test_counts_beyond_two_are_several():
    assert [count_word(number) for number in (0, 1, 2, 3, 9)] == ["None.", "One.", "Two.", "Several.", "Several."]


@pytest.mark.parametrize(
    ("distance", "band"),
    [(9.9, "Less than 10 m."), (10.0, "10 to 20 m."), (29.9, "20 to 30 m."), (np.inf, "There is none within 30 m.")],
)
def test_distances_fall_into_bands(distance, band):
    assert distance_band(distance) == band


def test_kinds_are_listed_once_in_a_fixed_order():
    assert kinds(["pedestrian", "bus", "car", "car"]) == "Cars, buses and pedestrians."
    assert kinds([]) == "Nothing."
    assert kinds(reversed(AGENT_CATEGORIES)) == kinds(AGENT_CATEGORIES)
