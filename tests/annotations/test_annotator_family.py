"""What every annotator of the family must keep, whatever it asks."""

import numpy as np
import pytest
from annotator_options import options_of

from dima_pipeline.annotations import ANNOTATORS
from dima_pipeline.contracts.frames import VQA_CATEGORIES
from dima_pipeline.curation.grounding import check_pairs
from hand_scenes import Actor, HandScene, make_tables, straight

BUSY = HandScene(
    ego=straight(12, 5.0),
    actors={
        "lead": Actor("car", straight(12, 5.0, start_x=14), "vehicle.moving"),
        "parked": Actor("truck", (30, -4, 0), "vehicle.parked"),
        "walker": Actor("pedestrian", (22, 5, 0)),
        "cone": Actor("traffic_cone", (25, 4, 0)),
        "hidden": Actor("bus", (20, 8, 0), visibility=1.0),
    },
    lines=[("divider", [(-60, 1.75), (120, 1.75)]), ("ped_crossing", [(28, -6), (28, 6)])],
    description="Night, rain, parked truck",
)


@pytest.fixture(params=ANNOTATORS.names())
def annotator(request, tmp_path):
    return ANNOTATORS.build(ANNOTATORS.parse(options_of(request.param, tmp_path)))


def pairs_of(annotator, seed=0):
    return list(annotator.pairs(make_tables(BUSY), np.random.default_rng(seed)))


def test_it_asks_about_keyframes_of_the_scene_in_known_categories(annotator):
    pairs = pairs_of(annotator)
    known = set(make_tables(BUSY).samples.sample_token)
    assert pairs
    assert {pair.sample_token for pair in pairs} <= known
    assert {pair.category for pair in pairs} <= set(VQA_CATEGORIES)
    assert all(pair.question and pair.answer and pair.source for pair in pairs)


def test_the_same_generator_state_gives_the_same_pairs(annotator):
    assert pairs_of(annotator) == pairs_of(annotator)


def test_rules_draw_their_questions():
    rules = ANNOTATORS.build(ANNOTATORS.parse("rules"))
    assert pairs_of(rules) != pairs_of(rules, seed=1)


def test_it_speaks_only_of_instances_that_are_in_the_keyframe(annotator):
    agents = make_tables(BUSY).agents.groupby("sample_token").instance_token.agg(set)
    assert all(set(pair.objects) <= agents[pair.sample_token] for pair in pairs_of(annotator))


def test_its_countable_answers_agree_with_the_tables(annotator):
    checks = [verdict.check for verdict in check_pairs(pairs_of(annotator), make_tables(BUSY))]
    assert "passed" in checks and "failed" not in checks
