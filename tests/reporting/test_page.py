"""The written page: self-contained, escaped, complete, small."""

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dima_pipeline.reporting.config import ReportConfig
from dima_pipeline.reporting.page import as_data_uri, render_report
from dima_pipeline.storage.manifest import verify
from report_facts import (
    make_answers,
    make_bare_facts,
    make_differences,
    make_drift,
    make_drift_verdict,
    make_facts,
    make_log,
    make_summaries,
    make_trials,
)

VOID = {"meta", "img", "br", "link", "input", "hr", "wbr"}
DRIFT_PAGE = "../drift/index.html"


class Reader(HTMLParser):
    """Collects ids, links and what an open page would fetch, and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"script in <{tag} {name}>"
            if name == "id":
                self.ids.append(str(value))
            if name == "href":
                self.links.append(str(value))
            if name in ("src", "srcset", "data", "poster", "action", "xlink:href"):
                self.fetched.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag


def write_pictures(directory: Path, num: int = 2, size: tuple[int, int] = (300, 120), **entry: object) -> Path:
    """Pictures of noise with their index."""
    directory.mkdir()
    rng = np.random.default_rng(0)
    entries = []
    for number in range(num):
        files = {view: f"{number:02d}_{view}.png" for view in ("cameras", "above")}
        for name in files.values():
            Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(directory / name)
        texts = {"sample_token": "t", "title": "scene-0001, keyframe 5", "reason": "typical", "description": "Rain"}
        numbers = {
            "command": "left",
            "speed_mps": 4.0,
            "l2_m": {"planner": 1.25},
            "first_collision_s": {"planner": 2.5},
        }
        entries.append({**files, **texts, **numbers, **entry})
    (directory / "pictures.json").write_text(json.dumps(entries))
    return directory


def read(text: str) -> Reader:
    """Parse a page; fails on tags that do not close in order."""
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_the_page_asks_nothing_of_the_network_and_has_no_script(tmp_path: Path):
    page = render_report(make_facts(pictures=write_pictures(tmp_path / "pictures")), tmp_path / "report")
    text = page.read_text(encoding="utf-8")
    reader = read(text)
    assert len(reader.fetched) == 4 and all(source.startswith("data:image/webp;base64,") for source in reader.fetched)
    assert {link for link in reader.links if not link.startswith("#")} == {DRIFT_PAGE}
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    assert "script" not in reader.tags and "iframe" not in reader.tags
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert [path.name for path in sorted((tmp_path / "report").iterdir())] == ["index.html", "manifest.json"]
    assert verify(tmp_path / "report")["licence"] == "Apache-2.0"


def written(directory: Path, **changes: object) -> str:
    """The text of the page of a run."""
    return render_report(make_facts(**changes), directory).read_text(encoding="utf-8")


def shown(directory: Path, **changes: object) -> str:
    """What a reader sees of it: no tags, no styles, single blanks."""
    text = re.sub(r"<style>.*?</style>|<wbr>", "", written(directory, **changes), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_every_section_is_there_and_every_link_leads_to_one(tmp_path: Path):
    reader = read(written(tmp_path))
    sections = ["data", "results", "slices", "pictures", "teacher", "training", "sweep", "drift", "latency", "next"]
    assert reader.ids == ["overview", *sections]
    assert {link.removeprefix("#") for link in reader.links} == {*sections, DRIFT_PAGE}
    assert {"header", "nav", "main", "section", "footer", "h1", "h2"} <= reader.tags


def test_what_comes_from_recordings_and_models_is_escaped(tmp_path: Path):
    evil = "<script>alert(1)</script><b>bold</b>"
    answers = make_answers()
    answers[["question", "answer"]] = evil
    pictures = write_pictures(tmp_path / "pictures", title=evil, description=evil, reason=evil, command=evil)
    summaries, members, scenes = make_summaries(), make_facts().slice_members, make_facts().scenes
    summaries["slice"] = summaries["slice"].replace("night", evil)
    members["slice"] = members["slice"].replace("construction", evil)
    trials = make_trials(2.0, 1.5)
    trials["config"] = json.dumps({evil: evil})
    facts = make_facts(
        run=ReportConfig(dataset=evil, data_dir=f"data/{evil}"), licence=evil, pictures=pictures, vqa_scores=answers,
        training_log=make_log((evil,)), summaries=summaries, slice_members=members, sweep_trials=trials,
        scenes=scenes.assign(location=evil), drift_scores=make_drift().assign(slice=evil, feature=evil, statistic=evil),
        card={"num_parameters": 1, "planner": {"name": evil}, "training": {"run": evil}},
        training={"teacher": {"name": evil, "checkpoint": evil}},
    )  # fmt: skip
    text = render_report(facts, tmp_path / "report").read_text(encoding="utf-8")
    reader = read(text)
    assert "script" not in reader.tags and evil not in text
    clean = read(written(tmp_path / "clean", pictures=pictures))
    assert reader.tags <= clean.tags


def test_the_numbers_of_the_tables_stand_on_the_page(tmp_path: Path):
    text = shown(tmp_path / "r", pictures=write_pictures(tmp_path / "p"))
    assert "240 keyframes of 10 scenes" in text and "0.33 %" in text and "standardised" in text
    assert "trained on 2 training scenes of a made-up world (12 keyframes" in text
    assert "too few" in text and "21.4" in text and "trajectory_l1" in text
    assert "The planner collides at 2.5 s" in text
    assert "below 20 scored keyframes, 2 events or 8 scenes: its numbers are anecdotes" in text
    assert "joint-4f1d" in text and "123,456 weights" in text
    assert "kedro run --env tiny" in text


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("summaries", make_summaries().assign(num_scenes=17), "240 keyframes of 17 scenes"),
        ("differences", make_differences(0.31, 0.32, 0.33), "The control beats the distilled planner"),
        ("vqa_scores", make_answers(20, 0.3, 0.6), "answers better with another scene’s tokens"),
        ("sweep_trials", make_trials(1.0, 3.0), "The sweep found nothing better than the default settings"),
        ("sweep_trials", make_trials(8.0, 2.0), "default 8.00 m, best 2.00 m (−75 %)"),
        ("drift_scores", make_drift({"all": {"l2_m": 0.77}}), "7.7 ×"),
        ("drift_verdict", make_drift_verdict(passed=True), "The drift stays within what is allowed"),
        ("slice_members", make_facts().slice_members.iloc[:2], "1 rare event"),
        ("min_samples", 33, "below 33 scored keyframes"),
        ("split", "train", "scenes that it was trained on"),
    ],
)
def test_another_table_gives_another_page(tmp_path: Path, name: str, table: object, words: str):
    assert words not in shown(tmp_path / "before")
    assert words in shown(tmp_path / "after", **{name: table})


def test_bad_news_stands_at_the_top(tmp_path: Path):
    top = shown(tmp_path, differences=make_differences(0.1, 0.2, 0.3)).split("At a glance")[0]
    assert "Verdict: Not good. It plans nearer to the human driver than" in top
    assert "it is beaten by the control (the same planner without the teacher)" in top


def test_no_sweep_is_told_with_how_to_make_one(tmp_path: Path):
    text = shown(tmp_path, sweep_trials=make_trials(1.0).iloc[:0])
    text = text.split("Are there better settings?")[1].split("Are the scenes still")[0]
    assert "No sweep was made in this run" in text and "--pipelines=tuning,report --params tuning.num_trials=20" in text
    assert "What the best trial changed" not in text


def test_how_to_train_with_the_sweep_is_told(tmp_path: Path):
    text = written(tmp_path)
    assert "cp data/tiny/06_models/sweep/parameters_distillation.yml conf/tiny/" in text
    assert '<svg viewBox="0 0 300 120" role="img" aria-label="Objective of 3 trials, from 1.5 m to 2 m">' in text


def test_advice_is_given_for_what_went_wrong_and_no_other(tmp_path: Path):
    after = shown(tmp_path / "bad").split("What this run asks for:")[1]
    assert "add scenes like the current ones" in after and "pretrained language model" not in after
    well = make_facts(drift_verdict=make_drift_verdict(passed=True), sweep_trials=make_trials(1.0, 2.0))
    table = well.summaries.query("slice != 'resume_from_stop'")
    page = render_report(replace(well, summaries=table), tmp_path / "good").read_text(encoding="utf-8")
    assert "What this run asks for" not in page


def test_the_page_says_who_the_baselines_are_and_gives_the_same_advice_once(tmp_path: Path):
    text = shown(tmp_path / "r", differences=make_differences().assign(low=0.1, mean=0.2, high=0.3))
    assert "the ego-MLP is a small network trained on the car’s own last 2 s alone" in text
    assert text.count("“ego-MLP”, which sees nothing but is told its own last 2 s, beats the planner") == 1
    assert text.count("reading the speed from images needs examples") == 1


def test_pictures_are_described_for_who_does_not_see_them(tmp_path: Path):
    text = written(tmp_path / "r", pictures=write_pictures(tmp_path / "p", num=1))
    assert re.findall(r'alt="([^"]*)"', text) == [
        "Six camera images with the driven and planned paths on the road: scene-0001, keyframe 5, Rain",
        "Map, road users, driven and planned paths from above: scene-0001, keyframe 5, Rain",
    ]
    svgs = re.findall(r"<svg [^>]*>", text)
    assert all('role="img" aria-label="' in svg or 'aria-hidden="true"' in svg for svg in svgs) and len(svgs) > 20


@pytest.mark.parametrize(
    ("licence", "is_bound"),
    [("CC BY-NC-SA 4.0", True), ("nuScenes terms, non-commercial", True), ("Apache-2.0", False), ("CC BY 4.0", False)],
)
def test_a_non_commercial_licence_is_said_at_the_top(tmp_path: Path, licence: str, is_bound: bool):
    text = render_report(make_facts(licence=licence), tmp_path).read_text(encoding="utf-8")
    assert ("Not for commercial use" in text) == is_bound
    assert licence in text


def test_a_run_of_scores_alone_still_has_a_page_that_says_what_is_missing(tmp_path: Path):
    text = render_report(make_bare_facts(), tmp_path).read_text(encoding="utf-8")
    reader = read(text)
    assert DRIFT_PAGE not in reader.links
    for words in (
        "No question was asked", "Nothing was timed", "logged no training", "No slice was found",
        "No sweep was made", "Drift was not computed", "No picture was drawn",
    ):  # fmt: skip
        assert words in text
    assert "nan" not in re.split(r"[^a-z]+", text.lower())


def test_the_same_run_gives_the_same_bytes(tmp_path: Path):
    pictures = write_pictures(tmp_path / "pictures")
    first, second = (render_report(make_facts(pictures=pictures), tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_many_large_pictures_stay_within_their_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pictures = write_pictures(tmp_path / "pictures", num=3, size=(600, 226))
    sizes = []
    for budget_bytes in (10**9, 480_000):
        monkeypatch.setattr("dima_pipeline.reporting.page.PICTURE_BUDGET_BYTES", budget_bytes)
        sizes.append(render_report(make_facts(pictures=pictures), tmp_path / "report").stat().st_size)
    assert sizes[0] > 800_000 and sizes[1] < 480_000 * 4 / 3 + 100_000


def test_a_picture_keeps_its_quality_where_there_is_room(tmp_path: Path):
    pictures = write_pictures(tmp_path / "pictures", num=1)
    path = pictures / "00_cameras.png"
    assert len(as_data_uri(path, 10**6)) > 1.5 * len(as_data_uri(path, 1))


def test_scores_without_the_planner_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no planner 'student' to report on; they have"):
        render_report(make_facts(planner="student"), tmp_path)


def test_a_picture_directory_without_index_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"pictures\.json does not exist"):
        render_report(make_facts(pictures=tmp_path / "nothing"), tmp_path / "report")
