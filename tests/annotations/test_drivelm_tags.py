"""Which agent a tag of DriveLM means: places worked out by hand from cameras of 70 degrees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.annotations._drivelm_tags import IMAGE_PX, KINDS, Tag, boxes_of, tags_of
from dima_pipeline.contracts.frames import CAMERAS
from hand_scenes import SIZES, Actor, HandScene, make_tables, straight

FOCAL = 800 / np.tan(np.radians(35))
"""Pixels, in an image of 1600 x 900; the images of hand-typed scenes are 800 x 450."""


def boxes(**actors):
    tables = make_tables(HandScene(ego=straight(1, 0.0), actors=actors))
    return boxes_of(next(tables.samples.itertuples(index=False)), tables.agents)


def pixel(x, y, z):
    """Of a point ahead, in the front camera 1.5 m above the ego."""
    return 800 - FOCAL * y / x, 450 - FOCAL * (z - 1.5) / x


def means(found, x, y, camera="CAM_FRONT", info=None):
    return found.resolve(Tag("", camera, float(x), float(y)), info)


def test_a_tag_at_the_centre_of_a_box_means_its_agent_in_a_picture_of_any_size():
    found = boxes(lead=Actor("car", (20, 0, 0)), other=Actor("truck", (20, 8, 0)))
    assert means(found, *pixel(20, 0, 0.8)) == ("lead", "")
    assert means(found, *pixel(20, 8, 1.5)) == ("other", "")


def test_an_agent_behind_is_found_in_the_back_camera_and_not_in_the_front_one():
    found = boxes(follower=Actor("car", (-15, 0, 0)))
    u, v = pixel(15, 0, 0.8)
    assert means(found, u, v, "CAM_BACK") == ("follower", "")
    assert means(found, u, v) == (None, "no agent within 16 px")


def test_a_small_box_answers_within_16_px_and_a_large_one_in_its_middle_half():
    far = boxes(walker=Actor("pedestrian", (40, 0, 0)))
    u, v = pixel(40, 0, 0.9)
    assert means(far, u + 15.5, v)[0] == "walker"
    assert means(far, u + 16.5, v) == (None, "no agent within 16 px")
    near = boxes(truck=Actor("truck", (10, 0, 0)))
    u, v = pixel(10, 0, 1.5)
    # the rear of the truck is 6.5 m away and 2.5 m wide: 440 px, of which 110 on either side are the middle half
    half = FOCAL * 1.25 / 6.5
    assert means(near, u + 0.45 * half, v)[0] == "truck"
    assert means(near, u + 0.55 * half, v)[0] is None


@pytest.mark.parametrize(
    ("camera", "x", "y", "why"),
    [
        ("CAM_ROOF", 800, 450, "no camera 'CAM_ROOF'"),
        ("CAM_FRONT", 1600.5, 450, "outside the image"),
        ("CAM_FRONT", 800, -1, "outside the image"),
        ("CAM_FRONT", np.nan, 450, "no two numbers"),
        ("CAM_FRONT", 20, 450, "no agent within 16 px"),
    ],
)
def test_a_tag_that_means_no_agent_says_why(camera, x, y, why):
    assert means(boxes(lead=Actor("car", (20, 0, 0))), x, y, camera) == (None, why)


def test_an_empty_keyframe_resolves_nothing_without_a_warning():
    assert means(boxes(), 800, 450) == (None, "no agent within 16 px")


TWINS = {"left": Actor("pedestrian", (60, 0.02, 0)), "right": Actor("pedestrian", (60, -0.02, 0))}


def test_two_agents_equally_near_are_not_guessed_between():
    assert means(boxes(**TWINS), *pixel(60, 0, 0.9)) == (None, "2 agents equally near")


def test_the_box_of_the_file_decides_where_distance_cannot():
    """A pedestrian 20 m ahead before a bus 30 m ahead: the middle of the walker ends where that of the bus begins."""
    found = boxes(walker=Actor("pedestrian", (20, 0, 0)), bus=Actor("bus", (30, 0, 0)))
    drawn = found.drawn("CAM_FRONT")
    for row, name in enumerate(found.instances):
        box = [round(float(edge)) for edge in drawn.rectangle[row]]
        assert means(found, 800, 470, info={"2d_bbox": box})[0] == name


def test_a_traffic_light_is_not_taken_for_the_car_behind_it_but_a_cone_is_a_traffic_element():
    found = boxes(lead=Actor("car", (20, 0, 0)), cone=Actor("traffic_cone", (12, 3, 0)))
    light = {"Category": "Traffic element", "2d_bbox": None}
    assert means(found, *pixel(20, 0, 0.8), info=light) == (None, "no agent of its category there")
    assert means(found, *pixel(12, 3, 0.5), info=light)[0] == "cone"
    assert means(found, *pixel(20, 0, 0.8), info={"Category": "Vehicle"})[0] == "lead"
    assert means(found, *pixel(20, 0, 0.8), info={"Category": "something new"})[0] == "lead"


@pytest.mark.parametrize(
    "box", [None, [], [1, 2, 3], ["a", 1, 2, 3], [float("inf")] * 4, [10**400, 0, 1, 1], [True] * 4, {}]
)
def test_a_bad_box_of_the_file_is_as_none(box):
    assert means(boxes(lead=Actor("car", (20, 0, 0))), *pixel(20, 0, 0.8), info={"2d_bbox": box})[0] == "lead"


def test_a_box_around_the_camera_fills_the_picture_and_one_beside_it_is_cut_at_its_lens():
    drawn = boxes(around=Actor("bus", (0, 0, 0)), beside=Actor("bus", (0, 4, 0))).drawn("CAM_FRONT")
    assert np.isnan(drawn.centre).all()
    assert drawn.rectangle[0].tolist() == [0, 0, 1600, 900]
    # its nearest side is 2.55 m to the left, and its front 5.5 m ahead
    left, _, right, _ = drawn.rectangle[1]
    assert left == 0 and right == pytest.approx(800 - FOCAL * 2.55 / 5.5)


def test_tags_are_read_out_of_any_text_in_its_order():
    text = (
        "<c1,CAM_FRONT,801.2,470.5> passes <c12, CAM_BACK , 3, 4>; <b>, <c3,CAM_FRONT> <c4,CAM_BACK,1e3,nan> a<5, <c9"
    )
    found = list(tags_of(text))
    assert [(tag.camera, tag.x, tag.y) for tag in found[:2]] == [("CAM_FRONT", 801.2, 470.5), ("CAM_BACK", 3, 4)]
    assert [tag.text for tag in found[2:]] == ["<c3,CAM_FRONT>", "<c4,CAM_BACK,1e3,nan>"]
    assert all(np.isnan(tag.x + tag.y) for tag in found[2:])


@given(st.text(alphabet="<>c1,CAM_FRONT. 9-e", max_size=60))
def test_no_text_makes_the_reader_of_tags_fail(text):
    found = boxes(lead=Actor("car", (20, 0, 0)))
    for tag in tags_of(text):
        instance, why = found.resolve(tag)
        assert (instance is None) == bool(why)


places = st.tuples(st.floats(-30, 30), st.floats(-15, 15), st.floats(-3.1, 3.1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(SIZES)), places), min_size=1, max_size=12))
def test_a_tag_that_we_write_means_its_agent_again_or_is_open_and_never_another(agents):
    """Every agent in every camera that shows its centre, written with one decimal and with its box, as in an export."""
    found = boxes(**{f"agent-{at}": Actor(category, place) for at, (category, place) in enumerate(agents)})
    for camera in CAMERAS:
        drawn = found.drawn(camera)
        shown = drawn.is_inside & (drawn.centre >= 0).all(1) & (drawn.centre <= IMAGE_PX).all(1)
        for row in np.flatnonzero(shown):
            group = next(name for name, kinds in KINDS.items() if found.categories[row] in kinds)
            x, y = (round(float(value), 1) for value in drawn.centre[row])
            info = {"Category": group, "2d_bbox": [round(float(edge), 1) for edge in drawn.rectangle[row]]}
            instance, why = means(found, x, y, camera, info)
            twins = np.abs(drawn.rectangle - drawn.rectangle[row]).max(1) < 0.1 * np.ptp(drawn.rectangle[row])
            assert instance == found.instances[row] or (instance is None and twins.sum() > 1 and "equally" in why)
