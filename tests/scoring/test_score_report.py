"""The numbers of a report, by hand, and what is said with each of them."""

import dataclasses
import json

import numpy as np
import pytest

from dima_pipeline import __version__
from dima_pipeline.scoring.report import empty_numbers, markdown, plain, score_report, table_rows
from dima_pipeline.scoring.samples import OpenLoopSamples
from score_files import EVERY_PROTOCOL, KEYS, NUM_STEPS, NUMBERS, hand_arrays, in_ego_frame
from scoring_cases import random_samples, samples_of

PUBLISHED_STEPS = (0.2788, 0.5380, 0.8239, 1.1513, 1.5322, 1.9821)


def hand_samples(**changes) -> OpenLoopSamples:
    return OpenLoopSamples(**(hand_arrays() | {"frame": "lidar"} | changes))


def assert_hand_numbers(report) -> None:
    for name, expected in NUMBERS.items():
        assert report[name]["num_samples"] == expected["num_samples"], name
        for metric in ("l2_m", "box_collision", "gt_box_collision"):
            assert tuple(report[name][metric]) == KEYS
            found = list(report[name][metric].values())
            assert found == pytest.approx(expected[metric], abs=1e-9), (name, metric)


def test_the_hand_made_samples_have_the_numbers_that_one_sees():
    assert_hand_numbers(score_report(hand_samples(), EVERY_PROTOCOL))


def test_the_same_samples_in_the_ego_frame_have_the_same_numbers():
    assert_hand_numbers(score_report(OpenLoopSamples(**in_ego_frame(hand_arrays()), frame="ego"), EVERY_PROTOCOL))


def test_another_place_of_the_lidar_is_that_in_both_frames():
    far = {"lidar_ahead_m": 2.5}
    in_lidar = score_report(hand_samples(**far), EVERY_PROTOCOL)
    ego_samples = OpenLoopSamples(**in_ego_frame(hand_arrays(), 2.5), frame="ego", **far)
    assert score_report(ego_samples, EVERY_PROTOCOL) == {
        **in_lidar,
        "standardised": {**in_lidar["standardised"], "frame": "ego"},
    }
    # BEV-Planner's footprint hangs on the ego pose, so the boxes that the LIDAR saw are further ahead of it.
    nearer = score_report(hand_samples(), ["bev_planner"])
    assert in_lidar["bev_planner"]["box_collision"] != nearer["bev_planner"]["box_collision"]


def test_the_published_steps_reduce_to_the_published_numbers():
    gt = np.stack([np.zeros(NUM_STEPS), 5.0 * np.arange(1, NUM_STEPS + 1)], -1)
    samples = samples_of(gt + np.stack([np.zeros(NUM_STEPS), PUBLISHED_STEPS], -1), gt=gt)
    report = score_report(samples, ["vad", "uniad"])
    assert list(report["uniad"]["l2_m"].values())[:4] == pytest.approx([0.5380, 1.1513, 1.9821, 1.2238], abs=6e-5)
    assert list(report["vad"]["l2_m"].values())[:4] == pytest.approx([0.4084, 0.6980, 1.0511, 0.7192], abs=6e-5)
    assert report["vad"]["l2_m"]["avg_all"] == report["uniad"]["l2_m"]["avg_all"] == pytest.approx(1.05105, abs=5e-5)


def test_every_number_says_what_it_counts():
    scored = score_report(hand_samples(), ["bev_planner", "standardised"])
    about = {key: value for key, value in scored["bev_planner"].items() if key not in NUMBERS["vad"]}
    assert about == {
        "num_rows": 4,
        "num_counted": {"1": 3, "2": 3, "3": 3},
        "classes": ["vehicle"],
        "frame": "ego",
        "footprint": "41 x 18 cells of 0.1 m, turned by the last step",
        "incomplete": "drop_sample",
        "horizon_rule": {"l2_m": "mean", "box_collision": "any"},
        "dima_pipeline_version": __version__,
    }
    assert scored["standardised"]["frame"] == "lidar"
    assert scored["standardised"]["num_counted"] == {"1": 4, "2": 4, "3": 3}


def test_steps_stand_in_the_order_of_the_rows_with_forgiven_ones_at_zero():
    scored = score_report(hand_samples(), ["vad", "bev_planner"], with_steps=True)
    # Row 3 has a future of four steps: its collision is shown, and not counted.
    assert scored["vad"]["per_step"] == {
        "box_collision": [[0] * 6, [0, 1, 0, 0, 0, 0], [0] * 6, [0, 0, 0, 1, 0, 0]],
        "gt_box_collision": [[0] * 6, [0] * 6, [0, 0, 1, 0, 0, 0], [0] * 6],
        "counted": [[1] * 6, [1] * 6, [1] * 6, [0] * 6],
    }
    # Not accumulated, though BEV-Planner asks whether there was any.
    assert scored["bev_planner"]["per_step"]["box_collision"][1] == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("name", EVERY_PROTOCOL)
def test_numbers_are_means_of_the_counted_steps(name):
    samples = random_samples(3)
    known = np.arange(6) < np.random.default_rng(0).integers(0, 7, (len(samples), 1))
    samples = dataclasses.replace(samples, fut_mask=known)
    scored = score_report(samples, [name], with_steps=True)[name]
    counted = np.array(scored["per_step"]["counted"])
    for metric in ("box_collision", "gt_box_collision"):
        steps = np.array(scored["per_step"][metric])
        by_step = (steps * counted).sum(0) / counted.sum(0)
        assert steps.sum() > 0
        assert scored[metric]["avg_all"] == pytest.approx(by_step.mean())
        assert scored[metric]["avg"] == pytest.approx(np.mean([scored[metric][second] for second in "123"]))


def test_nothing_counted_is_null_and_said():
    arrays = hand_arrays()
    arrays["fut_mask"][:, 4:] = False
    report = score_report(hand_samples(**arrays), EVERY_PROTOCOL)
    assert report["vad"]["num_samples"] == 0
    assert report["vad"]["l2_m"] == dict.fromkeys(KEYS)
    standardised = report["standardised"]["l2_m"]
    assert standardised["1"] == 7 / 4
    assert [standardised[key] for key in ("3", "avg", "avg_all")] == [None] * 3
    assert empty_numbers(report) == [
        "vad counts nothing at all: no sample has a complete future",
        "bev_planner counts nothing at all: no sample has a complete future",
        "standardised counts nothing at 3 s: no sample has a known future there",
    ]
    json.dumps(report, allow_nan=False)


def test_samples_without_any_known_step_leave_only_zeros_of_uniad():
    report = score_report(hand_samples(fut_mask=np.zeros((4, 6), bool)), EVERY_PROTOCOL)
    assert [report[name]["num_samples"] for name in EVERY_PROTOCOL] == [0, 4, 0, 0]
    assert report["uniad"]["l2_m"] == dict.fromkeys(KEYS, 0.0)


def test_no_agents_are_no_collisions():
    arrays = hand_arrays()
    none = {name: arrays[name][:, :, :0] for name in ("boxes", "box_mask")}
    report = score_report(hand_samples(**none, kind=arrays["kind"][:, :0]), EVERY_PROTOCOL)
    assert all(number == 0 for scored in report.values() for number in scored["box_collision"].values())


def test_an_unknown_protocol_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"no protocol 'unaid'.*did you mean 'uniad'"):
        score_report(hand_samples(), ["vad", "unaid"])


def test_a_row_of_the_table_carries_its_protocol():
    rows = table_rows(score_report(hand_samples(), EVERY_PROTOCOL))
    assert rows[0] == {
        "protocol": "vad",
        "samples": "3 of 4",
        "classes": "vehicle + pedestrian",
        "L2 (m)": "1.00 / 1.00 / 1.00 / 1.00 / 1.00",
        "collisions (%)": "16.67 / 8.33 / 5.56 / 10.19 / 5.56",
        "ground-truth collisions (%)": "0.00 / 8.33 / 5.56 / 4.63 / 5.56",
        "frame": "lidar",
        "footprint": "8 x 4 cells of 0.5 m, never turned",
        "incomplete future": "sample left out",
        "at h (L2, collisions)": "mean, mean",
    }


def test_both_tables_hold_every_cell():
    rows = table_rows(score_report(hand_samples(), EVERY_PROTOCOL))
    for text in (plain(rows), markdown(rows)):
        assert all(cell in text for row in rows for cell in row.values())
    lines = markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1


def test_a_table_has_a_dash_where_nothing_is_counted():
    rows = table_rows(score_report(hand_samples(fut_mask=np.zeros((4, 6), bool)), ["vad"]))
    assert rows[0]["L2 (m)"] == "- / - / - / - / -"
