"""Does the whole do what it promises? The arms of ``proof/``, trained on the world of ``conf/world_small``.

    kedro run --env world_small --pipelines world,ingestion,annotation
    python benchmarks/world_small.py          # 3 seeds; --seeds 0 trains one, --num-steps 4 tries it out

Plans of the held-out towns with intervals over their scenes, each arm's scores averaged over its seeds first; planner
against what sees nothing, and against training with a teacher that is shown nothing or told the answers of other
scenes; images and map taken away, the map also from a planner that has no way past it; answers and perception against
those of another scene. Stages that are finished are kept, so seeds may be trained side by side (``--train-only``, a
process each) and put together by one more call.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.baselines import constant_turn_rate_and_velocity, constant_velocity, go_straight
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.modes import ModePlanner
from dima_pipeline.evaluation.planners import plan_scenes, plan_shuffled
from dima_pipeline.evaluation.plans import split_samples
from dima_pipeline.evaluation.scores import DRIVEN, compare, score
from dima_pipeline.evaluation.shuffling import other_scenes
from dima_pipeline.evaluation.vqa import answer_questions, encode_keyframes
from dima_pipeline.reporting.answers import answer_rows
from dima_pipeline.scoring.bootstrap import scene_interval, scene_sums
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.stages import load_planner, load_teacher
from dima_pipeline.training.windows import TrainingTables, build_targets

sys.path.insert(0, str(Path(__file__).parent))
from proof.arms import ARMS, World, train_arms
from proof.looking import MapHidden, perceived, read_out

PROJECT = Path(__file__).parents[1]
SCENE_TABLES = ["scenes", "samples", "agents", "ego_paths", "agent_futures", "map_elements"]
BLINDED = {"full": "map_hidden", "vectors_only": "vectors_only_map_hidden"}
"""Arms that also plan without their map, and what is compared with all others."""
METRICS = [{"name": "planning_l2", "protocol": "standardised"}, {"name": "box_collision", "protocol": "standardised"}]


def main() -> None:
    """Train what is not trained yet, look at all of it, print the tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="world_small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--num-steps", type=int, help="of every stage, in place of the configuration's")
    parser.add_argument("--num-questions", type=int, default=2000)
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # results depend on it in the last bit
    data = load_world(asked.env)
    world = training_world(data, asked.num_steps)
    arms = tuple(arm for arm in ARMS if arm in {"full", *asked.arms})
    models = {seed: train_arms(world, seed, arms) for seed in asked.seeds}
    if asked.train_only:
        return
    config = EvaluationConfig(metrics=METRICS, num_questions=asked.num_questions)
    proof = {
        "plans": planning(data, models, config),
        "perception": perception(data, models, config),
        "answers": answers(data, models, config),
    }
    show(proof)
    if asked.json is not None:
        asked.json.write_text(json.dumps(proof, indent=1))


def load_world(environment: str) -> dict[str, Any]:
    """Tables, the folder of the images and parameters of an environment whose ingestion and annotation are done."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    with KedroSession.create(PROJECT, env=environment) as session:
        context = session.load_context()
        names = [*SCENE_TABLES, "vqa_pairs", "scene_edits", "slice_members", "world_truth", "image_shards"]
        found = {name: context.catalog.load(name) for name in names}
        return {**found, "parameters": context.params}


def training_world(data: dict[str, Any], num_steps: int | None) -> World:
    """What ``proof.arms`` trains on; its work folder lies beside the environment's own."""
    config = parse_distillation(data["parameters"]["distillation"])
    if num_steps is not None:
        short = {"num_steps": num_steps, "warmup_steps": 1}
        config = replace(config, pretraining=replace(config.pretraining, **short), joint=replace(config.joint, **short))
    shards = Path(data["image_shards"]).resolve()
    tables = TrainingTables(**{name: data[name] for name in [*SCENE_TABLES, "vqa_pairs", "scene_edits"]})
    return World(tables=tables, shards_dir=shards, config=config, work_dir=shards.parents[1] / "work" / "world_small")


def held_out(data: dict[str, Any]) -> tuple[SceneTables, pd.DataFrame, SceneReader]:
    """All scenes, the held-out keyframes and who reads them."""
    scenes = SceneTables(**{name: data[name] for name in SCENE_TABLES})
    command = parse_distillation(data["parameters"]["distillation"]).window.command
    reader = SceneReader(scenes.samples, ImageShards(Path(data["image_shards"])), command=command)
    return scenes, split_samples(scenes, "val"), reader


def planning(data: dict[str, Any], models: dict[int, dict[str, Path]], config: EvaluationConfig) -> dict[str, Any]:
    """Scores of every arm and rule, differences of ``full`` to each of them by subset, and seed by seed."""
    scenes, samples, reader = held_out(data)
    frames = [rule(scenes, "val") for rule in (constant_velocity, constant_turn_rate_and_velocity, go_straight)]
    for seed, arms in models.items():
        for arm, directory in arms.items():
            planner, _ = load_planner(directory)
            frames.append(plan_scenes(ModePlanner(planner), reader, samples, planner=f"{arm}/{seed}"))
            if arm in BLINDED:
                hidden = ModePlanner(MapHidden(planner))
                frames.append(plan_scenes(hidden, reader, samples, planner=f"{BLINDED[arm]}/{seed}"))
            if arm == "full":
                teacher = load_teacher(directory)
                for mode in ("teacher", "dual"):
                    both = ModePlanner(planner, teacher, mode)
                    frames.append(plan_scenes(both, reader, samples, planner=f"mode_{mode}/{seed}"))
                rng, name = np.random.default_rng(seed), f"shuffled_images/{seed}"
                frames.append(plan_shuffled(ModePlanner(planner), reader, samples, planner=name, rng=rng))
    scores = score(pd.concat(frames, ignore_index=True), scenes, config.metrics)
    pooled = over_seeds(scores[scores["planner"] != DRIVEN])
    subsets = {"all": set(samples["sample_token"]), **slices_of(data, samples)}
    found = {
        arm: {name: compare_in(pooled, scenes.samples, arm, tokens, config) for name, tokens in subsets.items()}
        for arm in BLINDED
        if arm in set(pooled["planner"])
    }
    return {"means": means(pooled), "differences": found, "by_seed": by_seed(scores)}


def over_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``scores`` in which an arm's value is the mean over its seeds."""
    names = scores["planner"].str.split("/").str[0]
    keys = ["planner", "sample_token", "protocol", "metric", "horizon_rule", "horizon_s"]
    return (
        scores.assign(planner=names)
        .groupby(keys, sort=False, as_index=False)
        .agg(value=("value", "mean"), valid=("valid", "all"))
    )


def slices_of(data: dict[str, Any], samples: pd.DataFrame) -> dict[str, set[str]]:
    """Held-out keyframes in a turn, and those during an event that the generator planted."""
    members = data["slice_members"]
    truth = data["world_truth"]
    events = truth[truth["kind"] == "event"].merge(samples, on="scene_token")
    inside = events["timestamp_us"].between(events["begin_timestamp_us"], events["end_timestamp_us"])
    turning = set(members.loc[members["slice"] == "turning", "sample_token"]) & set(samples["sample_token"])
    return {"turning": turning, "planted events": set(events.loc[inside, "sample_token"])}


def compare_in(
    scores: pd.DataFrame, samples: pd.DataFrame, arm: str, tokens: set[str], config: EvaluationConfig
) -> list[dict[str, Any]]:
    """``arm`` against the others over the keyframes ``tokens``: at 3 s and the mean of 1, 2 and 3 s."""
    rows = compare(scores[scores["sample_token"].isin(tokens)], samples, arm, config)
    kept = rows[rows["horizon"].isin(["3.0", "avg"])]
    return kept[["other", "metric", "horizon", "mean", "low", "high", "num_samples", "num_scenes"]].to_dict("records")


def means(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean of every arm and rule at 1, 2 and 3 s."""
    kept = scores[scores["valid"] & scores["horizon_s"].isin([1.0, 2.0, 3.0])]
    return kept.groupby(["planner", "metric", "horizon_s"], as_index=False)["value"].mean().to_dict("records")


def by_seed(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean L2 (m) of 1, 2 and 3 s of every arm and seed."""
    kept = scores[scores["valid"] & scores["horizon_s"].isin([1.0, 2.0, 3.0]) & (scores["metric"] == "planning_l2")]
    table = kept.groupby(["planner", "horizon_s"])["value"].mean().groupby("planner").mean()
    return [
        {"arm": name.split("/")[0], "seed": int(name.split("/")[1]), "l2_m": value}
        for name, value in table.items()
        if "/" in name
    ]


def perception(
    data: dict[str, Any], models: dict[int, dict[str, Path]], config: EvaluationConfig
) -> list[dict[str, Any]]:
    """What ``full`` perceives, judged by its own keyframes and by those of other scenes: chance."""
    _, samples, reader = held_out(data)
    window = parse_distillation(data["parameters"]["distillation"]).window
    tokens = samples["sample_token"].tolist()
    tables = TrainingTables(**{name: data[name] for name in [*SCENE_TABLES, "vqa_pairs", "scene_edits"]})
    targets = build_targets(tables, pd.Index(tokens), num_agents=window.num_agents, num_map=window.num_map_elements)
    other = other_scenes(samples["scene_token"].tolist(), np.random.default_rng(0))
    shown = {"own": tokens, "another scene's": [tokens[index] for index in other]}
    rows = []
    for seed, arms in models.items():
        planner, _ = load_planner(arms["full"])
        said = read_out(planner, encode_keyframes(planner, reader, samples, set(tokens), config.num_parallel_scenes))
        rows += [perceived(said, tokens, seen, targets).assign(seed=seed, seen=name) for name, seen in shown.items()]
    table = pd.concat(rows, ignore_index=True)
    scene = table["sample_token"].map(samples.set_index("sample_token")["scene_token"])
    facts = {
        "agent recall": ("found", "agents"),
        "recall of agents said": ("found_said", "agents"),
        "map Chamfer (m)": ("distance_m", "elements"),
    }
    return [
        {"what": what, "seen": seen, **share(rows[above], rows[below], scene[rows.index], config)}
        for what, (above, below) in facts.items()
        for seen, rows in table.groupby("seen", sort=False)
    ]


def share(above: pd.Series, below: pd.Series, scene: pd.Series, config: EvaluationConfig) -> dict[str, float]:
    """A ratio of sums with its interval over scenes."""
    index = np.unique(scene.to_numpy(str), return_inverse=True)[1]
    sums, counts = scene_sums(above.to_numpy(float)[:, None], below.to_numpy(float)[:, None], index)
    [low], [high] = scene_interval(sums, counts, np.divide, num_resamples=config.num_bootstrap, seed=0)
    return {"mean": float(above.sum() / below.sum()), "low": float(low), "high": float(high)}


def answers(data: dict[str, Any], models: dict[int, dict[str, Path]], config: EvaluationConfig) -> list[dict[str, Any]]:
    """Right answers of the teachers of ``full`` by category, with the tokens of the scene and of another one."""
    _, samples, reader = held_out(data)
    tables = []
    for seed, arms in models.items():
        planner, _ = load_planner(arms["full"])
        teacher, pairs = load_teacher(arms["full"]), data["vqa_pairs"]
        drawn = replace(config, seed=seed)
        tables.append(answer_questions(teacher, planner, reader, samples=samples, vqa_pairs=pairs, config=drawn))
    facts: Any = SimpleNamespace(vqa_scores=pd.concat(tables), samples=samples, min_scenes=config.min_scenes)
    return answer_rows(facts)


def show(proof: dict[str, Any]) -> None:
    """Markdown tables."""
    plans = proof["plans"]
    head("planner", "L2 at 1 / 2 / 3 s (m)", "collision at 1 / 2 / 3 s (%)")
    table = pd.DataFrame(plans["means"]).set_index(["planner", "metric", "horizon_s"])["value"]
    for name in dict.fromkeys(row["planner"] for row in plans["means"]):
        l2, hits = (
            " / ".join(f"{scale * table[name, metric, s]:.{digits}f}" for s in (1.0, 2.0, 3.0))
            for metric, scale, digits in (("planning_l2", 1, 2), ("box_collision", 100, 1))
        )
        print(f"| {name} | {l2} | {hits} |")
    for arm, subset in ((arm, subset) for arm, found in plans["differences"].items() for subset in found):
        rows = plans["differences"][arm][subset]
        head(f"{arm} minus", "keyframes", "metric", "at 3 s (95 %)", "mean of 1, 2, 3 s (95 %)")
        cells = {(row["other"], row["metric"], row["horizon"]): row for row in rows}
        for other, metric in dict.fromkeys((row["other"], row["metric"]) for row in rows):
            scale, digits = (100, 1) if metric == "box_collision" else (1, 2)
            both = [interval(cells[other, metric, horizon], scale, digits) for horizon in ("3.0", "avg")]
            number = cells[other, metric, "3.0"]["num_samples"]
            print(f"| {other} | {subset} ({number}) | {metric} | {both[0]} | {both[1]} |")
    table = pd.DataFrame(plans["by_seed"]).pivot_table(index="arm", columns="seed", values="l2_m", sort=False)
    head("mean L2 (m) by seed", *map(str, table), "spread")
    for arm, values in table.iterrows():
        print(f"| {arm} | {' | '.join(f'{value:.2f}' for value in values)} | {values.std():.2f} |")
    print()
    for row in proof["perception"]:
        print(f"- {row['what']}, judged by {row['seen']} keyframe: {interval(row, 1, 3)}")
    head("category", "questions", "own scene", "another scene", "difference, points (95 %)")
    for row in proof["answers"]:
        difference = f"{row['difference']} ({row['interval']})"
        print(f"| {row['name']} | {row['num']} | {row['own']} | {row['shuffled']} | {difference} |")


def head(*names: str) -> None:
    """Of a Markdown table."""
    print(f"\n| {' | '.join(names)} |\n|{' --- |' * len(names)}")


def interval(row: dict[str, Any], scale: float, digits: int) -> str:
    """``mean (low to high)``."""
    mean, low, high = (f"{scale * row[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    main()
