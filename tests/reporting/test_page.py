"""The written page: self-contained, escaped, complete, small."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dima_pipeline.reporting.page import as_data_uri, render_report
from dima_pipeline.storage.manifest import verify
from report_facts import make_answers, make_facts, make_log, make_summaries

VOID = {"meta", "img", "br", "link", "input", "hr"}


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
    assert all(link.startswith("#") for link in reader.links)
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    assert "script" not in reader.tags and "iframe" not in reader.tags
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    assert [path.name for path in sorted((tmp_path / "report").iterdir())] == ["index.html", "manifest.json"]
    assert verify(tmp_path / "report")["licence"] == "Apache-2.0"


def test_every_section_is_there_and_every_link_leads_to_one(tmp_path: Path):
    reader = read(render_report(make_facts(), tmp_path).read_text(encoding="utf-8"))
    assert {link.removeprefix("#") for link in reader.links} == set(reader.ids)
    assert set(reader.ids) == {"results", "slices", "teacher", "pictures", "training", "latency", "data", "next"}


def test_what_comes_from_recordings_and_models_is_escaped(tmp_path: Path):
    evil = "<script>alert(1)</script><b>bold</b>"
    answers = make_answers()
    answers[["question", "answer"]] = evil
    pictures = write_pictures(tmp_path / "pictures", title=evil, description=evil, reason=evil, command=evil)
    log = make_log((evil,))
    summaries = make_summaries()
    summaries["slice"] = summaries["slice"].replace("night", evil)
    facts = make_facts(
        title=evil, dataset=evil, licence=evil, pictures=pictures, vqa_scores=answers, training_log=log,
        summaries=summaries, commands={evil: evil}, identity={evil: evil},
    )  # fmt: skip
    reader = read(render_report(facts, tmp_path / "report").read_text(encoding="utf-8"))
    assert "script" not in reader.tags
    clean = read(render_report(make_facts(pictures=pictures), tmp_path / "clean").read_text(encoding="utf-8"))
    assert reader.tags == clean.tags


def test_the_numbers_of_the_tables_stand_on_the_page(tmp_path: Path):
    text = render_report(make_facts(pictures=write_pictures(tmp_path / "p")), tmp_path / "r").read_text(
        encoding="utf-8"
    )
    assert '<td class="best">0.93</td>' in text
    assert "240 keyframes of 10 scenes" in text and "0.33 %" in text and "standardised" in text
    assert "Trained on 2 scenes (12 keyframes)" in text and "Scored on 2 val scenes" in text
    assert "too few" in text and "21.4" in text and "trajectory_l1" in text
    assert "The planner collides at 2.5 s" in text and "4.27" in text
    assert "kedro run" in text


@pytest.mark.parametrize(
    ("licence", "is_bound"),
    [("CC BY-NC-SA 4.0", True), ("nuScenes terms, non-commercial", True), ("Apache-2.0", False), ("CC BY 4.0", False)],
)
def test_a_non_commercial_licence_is_said_at_the_top(tmp_path: Path, licence: str, is_bound: bool):
    text = render_report(make_facts(licence=licence), tmp_path).read_text(encoding="utf-8")
    assert ("Not for commercial use" in text) == is_bound
    assert licence in text


def test_a_run_without_questions_training_latency_slices_and_pictures_still_has_a_page(tmp_path: Path):
    facts = make_facts()
    summaries = facts.summaries[facts.summaries["slice"] == "all"]
    bare = make_facts(
        vqa_scores=facts.vqa_scores.iloc[:0],
        training_log=facts.training_log.iloc[:0],
        latencies=facts.latencies.iloc[:0],
        differences=facts.differences.iloc[:0],
        summaries=summaries,
        identity={},
    )
    text = render_report(bare, tmp_path).read_text(encoding="utf-8")
    read(text)
    assert "No question was asked" in text and "Nothing was timed" in text and "logged no training" in text
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
