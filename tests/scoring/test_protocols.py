"""What each protocol says where it is wrong, and what is true: the defects of published numbers, one scene each.

All in the LIDAR frame (x right, y forward) unless said otherwise. The ego that stands at the origin reaches from -0.925
to 0.925 m across and from -1.542 to 2.542 m ahead; what is true is typed beside what the protocol says.
"""

import dataclasses

import numpy as np
import pytest

from dima_pipeline.contracts.frames import LIDAR_AHEAD_OF_EGO_M
from dima_pipeline.scoring.protocols import CHUNK, PROTOCOLS, Collisions, protocol_named
from dima_pipeline.scoring.rasters import HalfMetreGrid, row_runs
from dima_pipeline.scoring.samples import ARRAYS, OpenLoopSamples
from scoring_cases import edges, numbers, random_samples, samples_of

GRIDS = ("vad", "uniad", "bev_planner")
HALF_METRE = ("vad", "uniad")
ORIGIN = (0.0, 0.0)
EVERY = pytest.mark.parametrize("name", PROTOCOLS)


def says(name: str, samples: OpenLoopSamples, step: int = -1) -> bool:
    """Whether the planned box collides at a step of the first sample."""
    return bool(PROTOCOLS[name].collisions(samples).planned[0, step])


def joined(*parts: OpenLoopSamples) -> OpenLoopSamples:
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    return dataclasses.replace(parts[0], **arrays)


# ---- D1: a cell 25 m away


def test_the_point_collision_of_vad_has_no_name_here():
    assert set(PROTOCOLS) == {"vad", "uniad", "bev_planner", "standardised"}
    assert {field.name for field in dataclasses.fields(Collisions)} == {"planned", "driven"}
    with pytest.raises(ValueError, match="obj_col"):
        protocol_named("obj_col")


# ---- D2: missing futures in the denominator


@pytest.mark.parametrize(("name", "l2_m", "rate"), [("uniad", 2.0, 0.5), ("vad", 4.0, 1.0), ("standardised", 4.0, 1.0)])
def test_a_future_that_ends_halves_uniads_numbers(name, l2_m, rate):
    # One sample is 4 m wrong and hits a car at every step; the other one ends before its first step.
    car = edges(left=-5, right=-3, back=-1, front=1)
    whole = samples_of((-4, 0), [car], gt=ORIGIN)
    samples = joined(whole, samples_of((-4, 0), [car], gt=ORIGIN, known=0))
    protocol = PROTOCOLS[name]
    hit = protocol.box_collision(samples, protocol.collisions(samples))
    assert numbers(protocol.l2(samples), "at")["3.0"] == pytest.approx(l2_m)
    assert numbers(hit, "at")["3.0"] == pytest.approx(rate)


def test_uniads_protocol_makes_vads_published_error_1_68_m():
    # 15 in 100 samples end before 3 s.
    samples = joined(*(samples_of((0, 1.9821), gt=ORIGIN, known=6 if n < 85 else 5) for n in range(100)))
    assert numbers(PROTOCOLS["uniad"].l2(samples), "at")["3.0"] == pytest.approx(1.6848, abs=1e-4)
    assert numbers(PROTOCOLS["standardised"].l2(samples), "at")["3.0"] == pytest.approx(1.9821)


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("vad", [[1] * 6, [0] * 6, [0] * 6]),
        ("bev_planner", [[1] * 6, [0] * 6, [0] * 6]),
        ("uniad", [[1] * 6, [1] * 6, [1] * 6]),
        ("standardised", [[1] * 6, [1, 1, 1, 1, 0, 0], [0] * 6]),
    ],
)
def test_what_becomes_of_an_incomplete_future(name, counted):
    everywhere = edges(left=-9, right=9, back=-9, front=9)
    samples = joined(*(samples_of((1, 0), [everywhere], gt=(0, 9), known=known) for known in (6, 4, 0)))
    protocol = PROTOCOLS[name]
    found = protocol.collisions(samples)
    assert not found.planned[1, 4:].any() and not found.driven[1, 4:].any()
    for values in (protocol.l2(samples), protocol.gt_box_collision(samples, found)):
        np.testing.assert_array_equal(values.valid, np.array(counted, bool))
        np.testing.assert_array_equal(values.value > 0, values.valid & samples.fut_mask)


# ---- D3: boxes drawn too large, and 0.25 m too far to +x and +y


def drawn_span(box: list[float], is_flipped: bool = False) -> np.ndarray:
    """Edges left, right, low, high (m, low and high along the rows) of the cells that a level box fills."""
    grid = HalfMetreGrid(is_flipped=is_flipped)
    first, last = row_runs(grid.box_cells(np.array([box])), np.arange(200)[None])
    (rows,) = np.nonzero(first[0] <= last[0])
    return np.array([first[0].min(where=first[0] >= 0, initial=200), last[0].max() + 1, rows[0], rows[-1] + 1]) / 2 - 50


def test_a_car_is_drawn_a_quarter_of_a_metre_too_far_and_1_4_times_too_large():
    left, right, back, front = drawn_span(edges(left=-1, right=1, back=-2, front=2))
    assert (left, right, back, front) == (-1, 1.5, -2, 2.5)  # truly 1 to the right and 2 ahead
    assert ((left + right) / 2, (back + front) / 2) == (0.25, 0.25)
    assert (right - left) * (front - back) / (2 * 4) == pytest.approx(1.4, abs=0.01)


def test_on_average_over_places_a_pedestrian_is_drawn_2_9_times_as_large():
    places = np.arange(0.0125, 0.5, 0.025)
    spans = np.array([drawn_span(edges(x, x + 0.7, y, y + 0.7)) for x in places for y in places])
    area = (spans[:, 1] - spans[:, 0]) * (spans[:, 3] - spans[:, 2])
    assert area.mean() / 0.7**2 == pytest.approx(2.9, abs=0.1)
    assert (spans[:, :2].mean(1) - np.repeat(places, len(places)) - 0.35).mean() == pytest.approx(0.25, abs=0.01)


def test_vad_draws_boxes_too_far_back():
    # Its rows count from +y: low and high are -front and -back.
    assert drawn_span(edges(left=-1, right=1, back=-2, front=2), is_flipped=True).tolist() == [-1, 1.5, -2, 2.5]


def test_one_pedestrian_to_the_left_is_hit_and_its_mirror_image_is_not():
    left, right = edges(left=-1.9, right=-1.2, back=0, front=0.7), edges(left=1.2, right=1.9, back=0, front=0.7)
    assert says("vad", samples_of(ORIGIN, [left], kind=[1]))  # truly 0.275 m free
    assert not says("vad", samples_of(ORIGIN, [right], kind=[1]))  # truly 0.275 m free
    assert not any(says("standardised", samples_of(ORIGIN, [box], kind=[1])) for box in (left, right))


# ---- D4: clearance on the left, overlap on the right


@pytest.mark.parametrize("name", HALF_METRE)
def test_a_collision_is_reported_with_free_space_on_the_left(name):
    # At 0.4 m to the right the ego reaches from -0.525 to 1.325 m: 0.575 m free.
    samples = samples_of((0.4, 0), [edges(left=-3, right=-1.1, back=-2, front=2)])
    assert says(name, samples) and not says("standardised", samples)


@pytest.mark.parametrize("name", HALF_METRE)
def test_a_collision_is_missed_with_overlap_on_the_right(name):
    # 0.525 m of overlap: from 0.8 to 1.325 m.
    samples = samples_of((0.4, 0), [edges(left=0.8, right=3, back=-2, front=2)])
    assert not says(name, samples) and says("standardised", samples)


def test_uniad_misses_overlap_in_front_and_reports_free_space_behind():
    # At 0.3 m ahead the ego reaches from -1.242 to 2.842 m: 0.542 m of overlap; 0.458 m free.
    before = samples_of((0, 0.3), [edges(left=-1, right=1, back=2.3, front=6)])
    behind = samples_of((0, 0.3), [edges(left=-1, right=1, back=-6, front=-1.7)])
    assert not says("uniad", before) and says("standardised", before)
    assert says("uniad", behind) and not says("standardised", behind)


SIDES = {"left": (0, -0.925), "right": (0, 0.925), "front": (1, 2.542), "rear": (1, -1.542)}
"""Axis and edge of the ego."""


def clearance_m(name: str, side: str) -> float:
    """Free space (m) down to which a collision is reported: the mean over places of the ego within a cell."""
    axis, edge = SIDES[side]
    outwards = np.sign(edge)
    places, gaps = np.arange(0.025, 0.5, 0.05), np.arange(-1.0, 1.0, 0.02)
    box = np.array([0.0, 0.5, np.pi / 2, 4.6, 1.9])
    half = box[4] / 2 if axis == 0 else box[3] / 2
    samples = joined(*(samples_of(ORIGIN, [box]) for _ in range(places.size * gaps.size)))
    place, gap = (grid.ravel()[:, None] for grid in np.meshgrid(places, gaps, indexing="ij"))
    samples.pred[..., axis] = place
    samples.boxes[..., 0, axis] = place + edge + outwards * (gap + half)
    hit = PROTOCOLS[name].collisions(samples).planned[:, -1].reshape(places.size, gaps.size)
    return float((gaps[0] + 0.02 * hit.sum(1) - 0.01).mean())


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("uniad", {"left": 0.56, "right": -0.47, "front": -0.52, "rear": 0.48}),
        ("vad", {"left": 0.56, "right": -0.47, "front": 0.0, "rear": 0.0}),
        ("standardised", {"left": 0.0, "right": 0.0, "front": 0.0, "rear": 0.0}),
    ],
)
def test_clearances_are_those_measured_on_the_published_code(name, published):
    assert {side: clearance_m(name, side) for side in SIDES} == pytest.approx(published, abs=0.06)


# ---- D5: the yaw of the ego

LEFT_TURN = [(0, 2), (0, 4), (-0.5, 5), (-2, 5), (-3.5, 5), (-5, 5)]
"""The last three steps go left: at the end the ego reaches from -7.542 to -3.458 m across, 4.075 to 5.925 m ahead."""


@pytest.mark.parametrize("name", HALF_METRE)
def test_an_ego_that_has_turned_is_checked_where_it_is_not(name):
    before_it = samples_of(LEFT_TURN, [edges(left=-7.4, right=-6.6, back=4.6, front=5.4)])
    beside_it = samples_of(LEFT_TURN, [edges(left=-5.4, right=-4.6, back=6.5, front=7.3)])
    assert not says(name, before_it) and says("standardised", before_it)
    assert says(name, beside_it) and not says("standardised", beside_it)  # truly 0.575 m free


def test_standardised_follows_the_origin_that_it_is_given():
    # 0.725 m of overlap in the LIDAR frame; the ego frame, if its origin drove so, would end up 0.94 m further back.
    samples = samples_of(LEFT_TURN, [edges(left=-6, right=-5, back=5.2, front=8)])
    assert says("standardised", samples) and not says("standardised", samples.in_frame("ego"))


@pytest.mark.parametrize("name", ["bev_planner", "standardised"])
def test_bev_planner_turns_the_ego(name):
    # The same turn in the ego frame: at the end the ego reaches from 4.1 to 5.9 m ahead, 4.5 to 8.5 m to the left.
    path = [(y, -x) for x, y in LEFT_TURN]
    assert says(name, samples_of(path, [[5, 8, 0, 0.8, 0.8]], frame="ego"))
    assert not says(name, samples_of(path, [[6.9, 5, 0, 0.8, 0.8]], frame="ego"))


@pytest.mark.parametrize(("last_m", "is_turned"), [(0.95, False), (1.0, True)])
def test_bev_planner_forgets_a_turn_below_two_metres_a_second(last_m, is_turned):
    # Ego frame. It drives to the left, at last by less than 1 m: no way to be back in its first heading.
    path = [(0, 2), (0, 4), (0, 6), (0, 8), (0, 10), (0, 10 + last_m)]
    ahead_at_t0, to_the_left = [3, 10.8, 0, 0.6, 0.6], [0, 13.5, 0, 0.6, 0.6]
    for box, truth in ((ahead_at_t0, False), (to_the_left, True)):
        samples = samples_of(path, [box], frame="ego")
        assert says("standardised", samples) == truth
        assert says("bev_planner", samples) == (truth == is_turned)


# ---- D6: a millimetre


@pytest.mark.parametrize("name", HALF_METRE)
def test_a_millimetre_moves_the_footprint_a_whole_cell(name):
    car = [edges(left=0.7, right=3, back=-2, front=2)]  # truly 0.225 m of overlap, with the millimetre too
    stands, trembles = samples_of(ORIGIN, car), samples_of((-0.001, 0), car)
    assert says(name, stands) and not says(name, trembles)
    assert says("standardised", stands) and says("standardised", trembles)


def test_a_millimetre_moves_bev_planners_footprint_a_tenth_of_a_metre():
    # The ego frame; the ego reaches 0.925 m to the left and right, the last cell to the left begins at 0.8 m.
    car = [[1.5, 1.86, 0, 4, 2]]  # from 0.86 m on: truly 0.065 m of overlap
    assert says("bev_planner", samples_of(ORIGIN, car, frame="ego"))
    assert not says("bev_planner", samples_of((0, -0.001), car, frame="ego"))
    assert says("standardised", samples_of((0, -0.001), car, frame="ego"))


# ---- D9: inputs


@EVERY
def test_inputs_stay_as_they_are(name):
    samples = random_samples(2, num_samples=8)
    before = {array: getattr(samples, array).copy() for array in ARRAYS}
    for array in ARRAYS:
        getattr(samples, array).flags.writeable = False
    protocol = PROTOCOLS[name]
    found = protocol.collisions(samples)
    protocol.l2(samples), protocol.box_collision(samples, found), protocol.gt_box_collision(samples, found)
    for array in ARRAYS:
        np.testing.assert_array_equal(getattr(samples, array), before[array])


# ---- rules that differ on purpose


@pytest.mark.parametrize(
    ("name", "vehicle", "pedestrian"),
    [("vad", True, True), ("uniad", True, False), ("bev_planner", True, False), ("standardised", True, True)],
)
def test_which_agents_count(name, vehicle, pedestrian):
    on_the_path = edges(left=-0.5, right=0.5, back=0, front=1)
    found = [says(name, samples_of(ORIGIN, [on_the_path], kind=[kind])) for kind in range(3)]
    assert found == [vehicle, pedestrian, False]


@pytest.mark.parametrize(("name", "at_3_s"), [("vad", 3.5), ("uniad", 6), ("bev_planner", 3.5), ("standardised", 6)])
def test_which_error_is_the_one_at_3_s(name, at_3_s):
    # 1 m wrong at the first step, 6 m at the last.
    samples = samples_of([(0, metres) for metres in range(1, 7)], gt=ORIGIN)
    protocol = PROTOCOLS[name]
    assert numbers(protocol.l2(samples), protocol.l2_rule)["3.0"] == pytest.approx(at_3_s)


@pytest.mark.parametrize(("name", "rates"), [("vad", [1 / 2, 1 / 6]), ("uniad", [0, 0]), ("bev_planner", [1, 1])])
def test_a_hit_at_half_a_second_at_1_s_and_at_3_s(name, rates):
    # A car stands where the ego plans to be at 0.5 s; from then on the plan is 20 m further.
    path = [(0, 5), (0, 25), (0, 25), (0, 25), (0, 25), (0, 25)]
    samples = samples_of(path, [edges(left=-1, right=1, back=4, front=7)], gt=(30, 30))
    protocol = PROTOCOLS[name]
    found = numbers(protocol.box_collision(samples, protocol.collisions(samples)), protocol.collision_rule)
    assert [found["1.0"], found["3.0"]] == pytest.approx(rates)


@EVERY
def test_a_step_where_the_driven_path_collides_is_forgiven_and_counts(name):
    # Both samples plan through a car at every step; the driver of the second one did so too.
    car = edges(left=-1, right=1, back=-1, front=1)
    samples = joined(samples_of(ORIGIN, [car], gt=(20, 0)), samples_of(ORIGIN, [car]))
    protocol = PROTOCOLS[name]
    found = protocol.collisions(samples)
    planned, driven = protocol.box_collision(samples, found), protocol.gt_box_collision(samples, found)
    assert planned.valid.all() and driven.valid.all()
    assert planned.value.tolist() == [[1] * 6, [0] * 6]
    assert driven.value.tolist() == [[0] * 6, [1] * 6]


@EVERY
def test_l2_is_the_distance_of_the_positions_in_either_frame(name):
    samples = samples_of((3, 4), gt=ORIGIN)
    for given in (samples, samples.in_frame("ego")):
        np.testing.assert_allclose(PROTOCOLS[name].l2(given).value, 5)


@EVERY
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("garbage", [np.nan, 1e30, -1e30])
def test_what_stands_behind_the_end_of_a_recording_does_not_matter(name, garbage):
    samples = random_samples(3, num_samples=30)
    samples.fut_mask[::2, 3:] = False
    samples.fut_mask[1::4, 2] = False  # a hole
    dirty = dataclasses.replace(
        samples,
        gt=np.where(samples.fut_mask[..., None], samples.gt, garbage),
        boxes=np.where(samples.fut_mask[..., None, None], samples.boxes, garbage),
    )
    protocol = PROTOCOLS[name]
    clean_found, found = protocol.collisions(samples), protocol.collisions(dirty)
    for values, expected in (
        (protocol.l2(dirty), protocol.l2(samples)),
        (protocol.box_collision(dirty, found), protocol.box_collision(samples, clean_found)),
        (protocol.gt_box_collision(dirty, found), protocol.gt_box_collision(samples, clean_found)),
    ):
        np.testing.assert_array_equal(values.value, expected.value)


def test_the_heading_after_a_hole_is_that_from_the_last_known_position():
    # Driven 10 m ahead, then unknown, then 10 m further: the ego looks ahead all the time.
    samples = samples_of(
        ORIGIN, [edges(left=-0.5, right=0.5, back=21.5, front=22)], gt=[(0, 10)] + [(7, 99)] + [(0, 20)] * 4
    )
    samples.fut_mask[0, 1] = False
    assert PROTOCOLS["standardised"].collisions(samples).driven[0].tolist() == [False, False, True, True, True, True]


@EVERY
def test_no_agents_and_no_samples_are_no_collisions(name):
    assert not PROTOCOLS[name].collisions(samples_of(ORIGIN)).planned.any()
    assert PROTOCOLS[name].collisions(samples_of(ORIGIN).rows(slice(0, 0))).planned.shape == (0, 6)


@EVERY
def test_parts_are_scored_as_the_whole_is(name):
    samples = random_samples(4, num_samples=CHUNK + 10, num_agents=2)
    whole, last = PROTOCOLS[name].collisions(samples), PROTOCOLS[name].collisions(samples.rows(slice(CHUNK, None)))
    assert len(whole.planned) == CHUNK + 10 and last.planned.any()
    np.testing.assert_array_equal(whole.planned[CHUNK:], last.planned)


# ---- frames


def test_a_car_ahead_and_to_the_right_in_both_frames():
    # LIDAR: 2 m right, 10 m ahead, looking ahead. Ego: 10.943713 m ahead, 2 m to the right, looking ahead.
    samples = samples_of((1, 5), [[2, 10, np.pi / 2, 4, 2]], gt=(0, 6)).in_frame("ego")
    np.testing.assert_allclose(samples.boxes[0, 0, 0], [10 + LIDAR_AHEAD_OF_EGO_M, -2, 0, 4, 2])
    np.testing.assert_allclose(samples.pred[0, 0], [5, -1])
    np.testing.assert_allclose(samples.gt[0, 0], [6, 0])


@pytest.mark.parametrize("lidar_ahead_m", [LIDAR_AHEAD_OF_EGO_M, 0.0, 1.7])
def test_into_the_other_frame_and_back_is_the_same(lidar_ahead_m):
    samples = dataclasses.replace(random_samples(5, num_samples=4), lidar_ahead_m=lidar_ahead_m)
    back = samples.in_frame("ego").in_frame("lidar")
    assert back.frame == "lidar" and samples.in_frame("lidar") is samples
    for array in ARRAYS:
        np.testing.assert_allclose(getattr(back, array), getattr(samples, array), atol=1e-12)


def test_straight_ahead_both_frames_give_the_same_exact_collisions():
    samples = random_samples(6, num_samples=60)
    for path in (samples.pred, samples.gt):
        path[..., 0] = 0
        path[..., 1] = np.sort(np.maximum(path[..., 1], 0), 1)
    found = [PROTOCOLS["standardised"].collisions(samples.in_frame(frame)).planned for frame in ("lidar", "ego")]
    assert 0.1 < found[0].mean() < 0.9
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", GRIDS)
def test_grids_see_the_same_cells_from_either_frame(name):
    # No metre lies on the border of a cell: the way through the other frame rounds in the last digit.
    samples = random_samples(7, num_samples=60)
    other = samples.in_frame("ego").in_frame("lidar").in_frame("ego")
    np.testing.assert_array_equal(
        PROTOCOLS[name].collisions(samples).planned, PROTOCOLS[name].collisions(other).planned
    )
