"""What was trained on what: the data, the stages of training and what each pipeline produced."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS, IMAGE_SOURCES, SPLITS
from dima_pipeline.reporting.drift import drift_counts
from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.results import counted, label, mean
from dima_pipeline.reporting.wording import listed, many, number, percent
from dima_pipeline.slices import slice_counts

STAGES = {
    "pretraining": "the planner alone, so that there is something to teach",
    "joint": "planner and teacher together; the planner of this page comes out of it",
    "control": "the planner alone again: the same start, batches and number of steps, no teacher",
}


def data_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a split: scenes, keyframes and where the camera images come from."""
    split = facts.samples["scene_token"].map(facts.scenes.set_index("scene_token")["split"])
    rows = []
    for name in SPLITS:
        samples = facts.samples[split == name]
        if samples.empty:
            continue
        scenes = facts.scenes[facts.scenes["split"] == name]
        places = ", ".join(sorted(scenes["location"].unique()))
        rows.append({"split": name, "scenes": len(scenes), "keyframes": len(samples), "places": places})
        rows[-1] |= image_counts(samples)
    return rows


def image_counts(samples: pd.DataFrame) -> dict[str, int]:
    """Camera images by source."""
    columns = [f"{camera.lower()}_source" for camera in CAMERAS]
    sources = pd.Series(samples[columns].to_numpy(object).ravel()).value_counts()
    return {source: int(sources.get(source, 0)) for source in IMAGE_SOURCES}


def images_in_words(facts: ReportFacts, samples: pd.DataFrame) -> str:
    """How many images are photographs and how many are drawings."""
    counts = image_counts(samples)
    missing = f"; {counts['missing']:,} are missing" if counts["missing"] else ""
    if facts.run.generates_world:
        return f"{many(counts['recorded'] + counts['rendered'], 'image')}, all drawn by the generator{missing}"
    return f"{counts['recorded']:,} images recorded, {counts['rendered']:,} rendered from the log{missing}"


def held_out(facts: ReportFacts) -> int:
    """Scenes of the split ``train`` that no stage trains on."""
    return int(facts.training.get("num_development_scenes", 0))


def opening(facts: ReportFacts) -> str:
    """The sentence that says what was trained on what."""
    counts, train = counted(facts), facts.scenes[facts.scenes["split"] == "train"]
    samples = facts.samples[facts.samples["scene_token"].isin(train["scene_token"])]
    of = f" of {len(train)}" if held_out(facts) else ""
    seen = ": scenes that it was trained on." if facts.split == "train" else " that it had never seen."
    return (
        f"It was trained on {len(train) - held_out(facts)}{of} training {'scene' if len(train) == 1 else 'scenes'} of "
        f"{facts.run.dataset} ({many(len(samples), 'keyframe')}{' in all' if of else ''}; "
        f"{images_in_words(facts, samples)}; licence {facts.licence}) and scored on {many(counts['scenes'], 'scene')} "
        f"of the split “{facts.split}” ({many(counts['samples'][0], 'keyframe')}){seen}"
    )


def overlap_in_words(overlap: pd.DataFrame) -> str:
    """One sentence a held-out split: how many of its keyframes (``GeographicOverlap``) are where training drove."""
    return " ".join(_split_in_words(str(split), rows) for split, rows in overlap.groupby("split"))


def _split_in_words(split: str, rows: pd.DataFrame) -> str:
    num_near, num_keyframes = int(rows["num_near"].sum()), int(rows["num_keyframes"].sum())
    where = f"within {rows['radius_m'].iloc[0]:g} m of a training keyframe"
    if not num_near:
        return f"None of the {many(num_keyframes, 'keyframe')} of “{split}” was recorded {where}."
    near = rows[rows["num_near"] > 0]
    shares = [percent(share, 0) for share in near["num_near"] / near["num_keyframes"]]
    places = listed([f"{place} {share}" for place, share in zip(near["location"], shares, strict=True)])
    return f"Of {many(num_keyframes, 'keyframe')} of “{split}” {num_near:,} were recorded {where} ({places})."


def finding_rows(findings: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a kind of thing that is odd in the recordings (``AuditFindings``), the most frequent first."""
    rows = []
    counts = findings.groupby("check")["num"].sum().sort_values(ascending=False, kind="stable")
    for check, num in counts.items():
        group = findings[findings["check"] == check]
        scenes = group.loc[group["scene_name"] != "", "scene_name"].nunique()
        row = {"check": str(check).replace("_", " "), "records": f"{num:,}", "scenes": scenes}
        rows.append({**row, "example": group["message"].iloc[0]})
    return rows


def models_in_words(facts: ReportFacts) -> str:
    """Which planner learned from which teacher."""
    teacher = facts.training["teacher"]
    made = f"from the checkpoint {teacher['checkpoint']}" if teacher.get("checkpoint") else "from scratch"
    weights = f"{facts.card['num_parameters']:,} weights"
    return f"Planner “{facts.card['planner']['name']}” ({weights}); teacher “{teacher['name']}”, trained {made}."


def stage_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a stage of training: what it trains, optimiser steps, first and last total loss."""
    rows = []
    for stage in pd.unique(facts.training_log["stage"]):
        log = facts.training_log[facts.training_log["stage"] == stage].sort_values("step")
        total = log.loc[log["term"] == "total", "value"].to_numpy(float)
        loss = f"{number(total[0])} → {number(total[-1])}" if len(total) else "–"
        what = STAGES.get(str(stage), "")
        rows.append({"name": str(stage), "what": what, "steps": int(log["step"].max()) + 1, "loss": loss})
    return rows


@dataclass(frozen=True, kw_only=True)
class Station:
    """A pipeline of the run: what it left behind, in a number and a few words, and where the page says more."""

    pipeline: str
    number: str
    words: str
    section: str


def stations(facts: ReportFacts) -> list[Station]:
    """The pipelines in the order of their data."""
    places = sorted(facts.scenes["location"].unique())
    splits = [f"{row['scenes']} {row['split']}" for row in data_rows(facts)]
    events = int(slice_counts(facts.slice_members, facts.samples, facts.scenes)["num_events"].sum())
    trials, drifted = facts.sweep_trials, drift_counts(facts)
    stages = stage_rows(facts)
    l2, hits = (mean(facts, facts.planner, metric, "avg") for metric in ("planning_l2", "box_collision"))
    first = "world" if facts.run.generates_world else "recordings"
    rows = [
        (first, many(len(facts.scenes), "scene"), f"{listed(splits)}; {many(len(places), 'place')}", "data"),
        ("ingestion", many(len(facts.samples), "keyframe"), images_in_words(facts, facts.samples), "data"),
        (
            "annotation",
            many(events, "rare event"),
            f"in {many(facts.slice_members['slice'].nunique(), 'slice')}",
            "slices",
        ),
        ("tuning", many(len(trials), "trial"), "of other settings" if len(trials) else "no sweep was made", "sweep"),
        (
            "distillation",
            many(sum(row["steps"] for row in stages), "step"),
            listed([f"{row['steps']:,} {row['name']}" for row in stages]),
            "training",
        ),
        ("export", f"{facts.card['num_parameters']:,} weights", "in one ONNX file, no LLM inside", "latency"),
        ("evaluation", f"L2 {number(l2)} m", f"{percent(hits)} collisions; means of 1, 2 and 3 s", "results"),
        ("drift", f"{drifted.drifted} of {drifted.judged} features", "drifted", "drift"),
    ]
    return [
        Station(pipeline=pipeline, number=num, words=words, section=section) for pipeline, num, words, section in rows
    ]


def latency_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a timed bundle."""
    rows = []
    for _, row in facts.latencies.iterrows():
        times = [number(row[name], 1) for name in ("p50_ms", "p95_ms", "p99_ms")]
        name = label(row["planner"], facts)[0]
        rows.append({"name": name, "device": row["device"], "batch": row["batch"], "times": times})
    return rows
