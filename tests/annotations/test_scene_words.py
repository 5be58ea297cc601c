"""Directions, numbers with units and lists in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import AGENT_CATEGORIES
from dima_pipeline.contracts.scene_words import (
    DIRECTIONS,
    counted,
    directions,
    kilometres_per_hour,
    kinds,
    listed,
    metres,
    metres_per_second,
)


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


@given(st.floats(0, 200))
def test_numbers_carry_their_unit_and_are_off_by_no_more_than_half_their_last_digit(value):
    for words, unit, scale, digit in (
        (metres(value), "m", 1.0, 1.0),
        (metres_per_second(value), "m/s", 1.0, 0.1),
        (kilometres_per_hour(value), "km/h", 3.6, 1.0),
    ):
        number, said = words.split(" ")
        assert said == unit
        assert abs(float(number) - scale * value) <= digit / 2 + 1e-9


def test_counted_things_agree_with_their_number():
    assert [counted(number, "bus") for number in (1, 2)] == ["1 bus", "2 buses"]
    assert counted(3, "construction_vehicle", "parked") == "3 parked construction vehicles"


def test_lists_are_sentences():
    assert listed(["a car"], "none") == "A car."
    assert listed(["a", "b", "c"], "none") == "A, b and c."
    assert listed([], "none of them") == "None of them."


def test_kinds_are_listed_once_in_a_fixed_order():
    assert kinds(["pedestrian", "bus", "car", "car"]) == "Cars, buses and pedestrians."
    assert kinds([]) == "Nothing."
    assert kinds(reversed(AGENT_CATEGORIES)) == kinds(AGENT_CATEGORIES)
