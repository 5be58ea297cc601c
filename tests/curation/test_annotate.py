"""Annotation as a whole: valid tables, the same whether scenes are annotated together or alone."""

import hashlib
from dataclasses import fields, replace

import pandas as pd
import pytest

from dima_pipeline.annotations import ANNOTATORS
from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.contracts.result_tables import GroundingRates
from dima_pipeline.contracts.tables import SceneEditRows, SliceMembers, VqaPairs, WorldTruth
from dima_pipeline.curation.annotate import annotate, slice_members, split_scenes
from dima_pipeline.curation.annotation_config import AnnotationConfig
from dima_pipeline.curation.review import COLUMNS, add_decisions
from dima_pipeline.datasets import SceneTables
from dima_pipeline.slices import SLICES
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight

LANES = [("centerline", [(-60, 0), (140, 0)])]
SCENES = (
    HandScene(ego=straight(12, 5.0), actors={"car": Actor("car", straight(12, 5.0, 20))}, lines=LANES, name="one"),
    HandScene(ego=from_speeds([5.0] * 12, 0.2), name="two", description="Night, rain"),
)


@pytest.fixture(scope="module")
def tables():
    return SceneTables(**vars(make_tables(*SCENES)))


@pytest.fixture(scope="module")
def annotated(tables):
    return annotate(AnnotationConfig(), tables)


def test_all_tables_keep_their_contracts(annotated):
    for table, model in zip(annotated, (VqaPairs, SceneEditRows, SliceMembers, GroundingRates), strict=True):
        pd.testing.assert_frame_equal(model.validate(table), table)
        assert len(table)


def test_every_keyframe_is_asked_about_and_no_checked_answer_fails(annotated, tables):
    pairs = annotated[0]
    assert set(pairs.sample_token) == set(tables.samples.sample_token)
    assert "passed" in set(pairs.check) and "failed" not in set(pairs.check)
    counts = pairs[pairs.sample_token == "one-000"].category.value_counts()
    assert 6 <= counts["perception"] <= 10 and counts["behavior"] == 1


def test_scenes_annotated_alone_give_the_rows_of_all_together(annotated, tables):
    alone = [annotate(AnnotationConfig(), scene) for scene in split_scenes(tables)]
    for at, together in enumerate(annotated[:3]):
        key = ["sample_token"] + (["slice"] if "slice" in together else [])
        both = pd.concat([parts[at] for parts in alone], ignore_index=True)
        expected, found = (table.sort_values(key, kind="stable").reset_index(drop=True) for table in (together, both))
        pd.testing.assert_frame_equal(found, expected)


def test_another_seed_asks_otherwise(annotated, tables):
    assert not annotate(AnnotationConfig(seed=1), tables)[0].equals(annotated[0])


def test_consecutive_members_are_one_event_and_a_gap_starts_another():
    stop_and_go = from_speeds([0.0] * 5 + [2, 4, 4, 2] + [0.0] * 6 + [2, 4, 5, 5, 5, 5, 5])
    tables = SceneTables(**vars(make_tables(HandScene(ego=stop_and_go))))
    config = AnnotationConfig(slices=[SLICES.parse("resume_from_stop")])
    found = slice_members(config, tables).groupby("event_id").sample_token.agg(list)
    assert len(found) == 2
    assert found["resume_from_stop-scene-0001-003"] == [f"scene-0001-{at:03d}" for at in (3, 4, 5)]


def test_an_event_does_not_run_from_one_scene_into_the_next():
    wet = [HandScene(ego=straight(3, 5.0), name=name, description="Rain") for name in ("a", "b")]
    tables = SceneTables(**vars(make_tables(*wet)))
    found = slice_members(AnnotationConfig(slices=[SLICES.parse("rain")]), tables)
    assert sorted(found.event_id.unique()) == ["rain-a-000", "rain-b-000"]


def test_scenes_are_split_without_losing_a_row(tables):
    parts = list(split_scenes(tables))
    assert [part.scenes.name.iloc[0] for part in parts] == ["one", "two"]
    for field in fields(SceneTables):
        assert sum(len(getattr(part, field.name)) for part in parts) == len(getattr(tables, field.name))


def test_rows_of_no_keyframe_are_refused_by_name(tables):
    agents = tables.agents.assign(sample_token="nowhere")
    broken = SceneTables(**{**vars(tables), "agents": agents})
    with pytest.raises(ValueError, match="agents: sample_token 'nowhere' is not in samples"):
        annotate(AnnotationConfig(), broken)


def test_the_parameters_are_parsed_from_plain_mappings_and_typos_are_refused():
    config = AnnotationConfig(
        annotators=[{"name": "rules", "num_planning": 1}], slices=["night"], edits={"add_share": 1}
    )
    assert config.annotators[0].num_planning == 1 and config.edits.add_share == 1
    with pytest.raises(ValueError, match="did you mean 'night'"):
        AnnotationConfig(slices=["nihgt"])


def test_an_empty_road_gives_pairs_and_valid_empty_edits_and_members():
    tables = SceneTables(**vars(make_tables(HandScene(ego=straight(3, 5.0)))))
    pairs, edits, members, _ = annotate(AnnotationConfig(), tables)
    assert set(pairs.category) == {"perception"}
    assert len(edits) == len(members) == 0
    assert list(edits.columns) == list(SceneEditRows.to_schema().columns)
    assert list(members.columns) == list(SliceMembers.to_schema().columns)


def test_a_slice_that_leaves_keyframes_out_is_refused_by_name(tables, monkeypatch):
    night = SLICES.module("night")
    monkeypatch.setattr(night, "build", lambda config: Partial())
    with pytest.raises(ValueError, match="slice 'night' has no answer for sample_token 'one-000'"):
        slice_members(AnnotationConfig(slices=[night.Config()]), tables)


def test_pairs_are_named_by_what_they_say_and_keep_their_names(annotated, tables):
    pairs = annotated[0]
    again = annotate(AnnotationConfig(), tables)[0]
    assert pairs.pair_id.is_unique and pairs.pair_id.tolist() == again.pair_id.tolist()
    one = VqaPair("s", "perception", "Is it day?", "Yes.", source="human")
    said = "\x1f".join(("s", "perception", "Is it day?", "Yes.", "human"))
    assert one.pair_id == hashlib.sha256(said.encode()).hexdigest()[:16]
    assert replace(one, objects=("car",), reason="odd").pair_id == one.pair_id
    assert replace(one, answer="No.").pair_id != one.pair_id


def test_what_truly_happened_reaches_annotators_and_nobody_else(tables, monkeypatch):
    rows = [("token-one", "signal", "red", None, 0, 10**9), ("elsewhere", "signal", "green", None, 0, 10**9)]
    columns = ("scene_token", "kind", "value", "instance_token", "begin_timestamp_us", "end_timestamp_us")
    truth = pd.DataFrame(rows, columns=list(columns))[list(WorldTruth.to_schema().columns)]
    night = SLICES.module("night")
    monkeypatch.setattr(night, "build", lambda config: Blind())
    rules = ANNOTATORS.parse({"name": "rules", "templates": ["signal"]})
    config = AnnotationConfig(annotators=[rules], slices=[night.Config()])
    pairs = annotate(config, tables, truth)[0]
    assert len(pairs) and set(pairs.answer) == {"Red."}
    assert set(pairs.sample_token) <= {f"one-{at:03d}" for at in range(12)}
    assert len(annotate(config, tables)[0]) == 0


def test_what_is_said_twice_is_kept_once_and_failed_pairs_say_why(tables, monkeypatch):
    wrong = VqaPair("one-000", "perception", "How many cars are to the front of the ego vehicle?", "7.", (), "rules")
    flagged = VqaPair("one-000", "perception", "Who sings?", "Nobody knows.", reason="tag: no agent within 16 px")
    rules = ANNOTATORS.module("rules")
    monkeypatch.setattr(rules, "build", lambda config: Parrot([wrong, wrong, flagged]))
    pairs, _, _, rates = annotate(AnnotationConfig(annotators=[rules.Config()]), tables)
    assert pairs.check.tolist()[0] == "failed" and "7" in pairs.reason[0]
    assert pairs.reason[1] == "tag: no agent within 16 px"
    assert len(pairs) == 2 and rates.num_failed.sum() == 1


def test_decisions_of_people_are_applied_last(annotated, tables, tmp_path):
    pairs = annotated[0]
    first, second = pairs.iloc[0], pairs.iloc[1]
    shown = {"sample_token", "category", "question", "answer", "source", "pair_id"}
    common = {"annotator": "ann", "decided_at": "2024-05-01T10:00:00.000000+00:00", "tier": "random", "origin": "1/2/3"}
    rows = [
        {**first[list(shown)], **common, "decision": "reject"},
        {**second[list(shown)], **common, "decision": "fix", "fixed_question": "How?", "fixed_answer": "So."},
    ]
    decided = pd.DataFrame([{**dict.fromkeys(COLUMNS), **row} for row in rows], columns=list(COLUMNS))
    add_decisions(tmp_path / "decisions.jsonl", decided)
    config = AnnotationConfig(decisions_file=str(tmp_path / "decisions.jsonl"))
    after = annotate(config, tables)[0]
    assert first.pair_id not in set(after.pair_id) and len(after) == len(pairs) - 1
    fixed = after[after.source == "human"]
    assert fixed.question.tolist() == ["How?"] and fixed.answer.tolist() == ["So."]


class Parrot:
    """An annotator that always says the same about the first scene."""

    def __init__(self, said: list[VqaPair]) -> None:
        self.said = said

    def pairs(self, scene: SceneTables, rng: object) -> list[VqaPair]:
        """What it was given, in the scene that it is about."""
        return self.said if "one-000" in set(scene.samples.sample_token) else []


class Blind:
    """A slice that finds nothing, and no truth either."""

    def members(self, tables: SceneTables) -> pd.Series:
        """None; the tables have no field for what truly happened."""
        assert not hasattr(tables, "world_truth")
        return pd.Series(False, index=tables.samples.sample_token)


class Partial:
    """A slice that forgets the first keyframe."""

    def members(self, tables: SceneTables) -> pd.Series:
        """All but the first."""
        return pd.Series(True, index=tables.samples.sample_token.iloc[1:])
