"""What the scores mean, in plain words that can turn out badly."""

import math

import pandas as pd

from dima_pipeline.reporting import results
from dima_pipeline.reporting.answers import answer_rows
from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.results import BASELINES, SHUFFLED, difference, label, mean
from dima_pipeline.reporting.wording import Mood, Verdict, interval, listed, many, number, signed

LOOKS_FROM = 0.10
"""From this relative rise of L2 with images of other scenes on, a planner is said to look."""
STANDS_OUT_FROM = 0.25
"""A slice whose L2 lies this much above that of every keyframe is bad news."""
TEACH_BETTER = (
    "Give the teacher more to learn from: more joint steps, or a pretrained language model "
    "(distillation.teacher.checkpoint)."
)
LOOKS = {
    "good": "it uses its cameras",
    "open": "whether it uses its cameras is not clear",
    "bad": "it does not use its cameras",
}
TOLD = {
    "constant_velocity": "its speed",
    "constant_turn_rate_and_velocity": "its speed and turn rate",
    "ego_mlp": "its own last 2 s",
}
"""What a baseline is told of the ego's motion, and the planner is not."""


def overall(facts: ReportFacts) -> Verdict:
    """The run in one sentence: what the planner beats, what beats it, what it cannot be told from."""
    found = {name: difference(facts, name) for name in (facts.control, *BASELINES)}
    moods = {name: compared(row) for name, row in found.items() if row is not None}
    beaten, ahead, unclear = ([_named(n, facts) for n in moods if moods[n] == mood] for mood in ("good", "bad", "open"))
    said = [f"it plans nearer to the human driver than {listed(beaten)}"] if beaten else []
    said += [f"it is beaten by {listed(ahead)}"] if ahead else []
    said += [f"it cannot be told from {listed(unclear)}"] if unclear else []
    looks = looks_verdict(facts)
    if looks is not None:
        said.append(LOOKS[looks.mood])
    seen = {*moods.values(), *([looks.mood] if looks else [])}
    if not seen:
        return Verdict("open", "Not compared", "This run compared the planner with nothing.")
    mood: Mood = "bad" if "bad" in seen or "good" not in seen else "open" if "open" in seen else "good"
    headline = {"good": "Good", "open": "Mixed", "bad": "Not good"}[mood]
    sentence = "; ".join(said)
    return Verdict(mood, headline, f"{sentence[0].upper()}{sentence[1:]}.")


def _named(planner: str, facts: ReportFacts) -> str:
    """A rival in a sentence, with what beating it means."""
    if planner == facts.control:
        return "the control (the same planner without the teacher)"
    told = f"told {TOLD[planner]}, but blind" if planner in TOLD else "blind"
    return f"“{label(planner, facts)[0]}” ({told})"


def compared(row: pd.Series) -> Mood:
    """What the interval of a difference allows to say; open where it holds zero or is unknown."""
    if row["high"] < 0:
        return "good"
    return "bad" if row["low"] > 0 else "open"


def verdicts(facts: ReportFacts) -> list[Verdict]:
    """The findings about the models, in order of what a reader asks first."""
    found = [control_verdict(facts), *(baseline_verdict(facts, name) for name in BASELINES)]
    found += [looks_verdict(facts), slice_verdict(facts), teacher_verdict(facts), latency_verdict(facts)]
    return [verdict for verdict in found if verdict is not None]


def control_verdict(facts: ReportFacts) -> Verdict | None:
    """Whether the teacher helped: the distilled planner against the control."""
    row = difference(facts, facts.control)
    if row is None:
        return None
    numbers = _difference_text(row)
    if not math.isfinite(row["low"]):
        return Verdict("open", "Too few scenes to tell the planner from the control", numbers, _more_scenes(facts))
    mood = compared(row)
    if mood == "good":
        return Verdict(mood, "The distilled planner beats the control: the teacher helped", numbers)
    if mood == "bad":
        return Verdict(
            mood, "The control beats the distilled planner: here the teacher did not help", numbers, TEACH_BETTER
        )
    worse = " (on average the planner is slightly worse)" if row["mean"] > 0 else ""
    return Verdict(
        mood,
        f"No clear difference to the control: whether the teacher helped stays open{worse}",
        numbers,
        _more_scenes(facts),
    )


def baseline_verdict(facts: ReportFacts, baseline: str) -> Verdict | None:
    """Whether the distilled planner beats a rival that sees nothing."""
    row = difference(facts, baseline)
    if row is None:
        return None
    name, numbers = label(baseline, facts)[0], _difference_text(row)
    if not math.isfinite(row["low"]):
        return Verdict("open", f"Too few scenes to tell the planner from “{name}”", numbers)
    mood = compared(row)
    if mood == "good":
        return Verdict(mood, f"The planner beats “{name}”", numbers)
    known = f"which sees nothing but is told {TOLD[baseline]}" if baseline in TOLD else "which sees nothing"
    if mood == "bad":
        return Verdict(mood, f"“{name}”, {known}, beats the planner", numbers, _train_more(facts))
    return Verdict(mood, f"The planner is not clearly better than “{name}”, {known}", numbers)


def looks_verdict(facts: ReportFacts) -> Verdict | None:
    """Whether the planner uses its cameras: L2 with images of other scenes against L2 with its own."""
    own = mean(facts, facts.planner, "planning_l2", "avg")
    shuffled = mean(facts, facts.planner + SHUFFLED, "planning_l2", "avg")
    if not (math.isfinite(own) and math.isfinite(shuffled) and own > 0):
        return None
    rise = shuffled / own - 1
    numbers = f"L2 {number(own)} m with its own images, {number(shuffled)} m with images of other scenes"
    numbers += f" ({signed(100 * rise, 0)} %)."
    row = difference(facts, facts.planner + SHUFFLED)
    if rise >= LOOKS_FROM and (row is None or not row["high"] >= 0):
        return Verdict("good", "The planner looks at the images", numbers)
    advice = "Make the planner look: train longer, on more scenes, or with larger images (ingestion.image_height)."
    if rise > 0:
        return Verdict("open", "It is not clear that the planner looks at the images", numbers, advice)
    return Verdict("bad", "The planner does not look at the images", numbers, advice)


def surprise(facts: ReportFacts) -> str:
    """Why a blind baseline that is told how the car moves can be hard to beat, where one was not beaten; else empty."""
    rows = {name: difference(facts, name) for name in TOLD}
    strong = [name for name, row in rows.items() if row is not None and compared(row) != "good"]
    if not strong:
        return ""
    names = listed([f"“{label(name, facts)[0]}”" for name in strong])
    learned = (
        " The ego-MLP has learned how such drives go on, from the car’s own motion alone: on nuScenes, networks like "
        "it come as near to the driver as planners with cameras (AD-MLP, 2023; BEV-Planner, CVPR 2024). That is why "
        "it stands here: a low L2 alone does not show that a planner looks."
    )
    return (
        f"Why can {names} keep up without seeing anything? Such a rival is told how the car moves, which the planner "
        "must read from images, and most of the time people keep driving as they do: over three seconds that is a "
        "strong guess. It is weakest where a driver changes something, as in turning, stopping and starting: the "
        "slices below show who is nearer there. And it can never avoid what it does not see."
    ) + (learned if "ego_mlp" in strong else "")


def slice_verdict(facts: ReportFacts) -> Verdict | None:
    """The slice where the planner is farthest from the driver, among those with enough behind them."""
    rows = results.slice_rows(facts)[1:]
    if not rows:
        return None
    judged = [row for row in rows if not row["too_few"]]
    few = f" {many(len(rows) - len(judged), 'slice')} too small to judge." if len(judged) < len(rows) else ""
    if not judged:
        return Verdict("open", "Every slice is too small to judge", few.strip())
    worst, whole = max(judged, key=lambda row: row["values"][0]), mean(facts, facts.planner, "planning_l2", "avg")
    behind = f"{many(worst['samples'], 'keyframe')}, {many(worst['scenes'], 'scene')}, {many(worst['events'], 'event')}"
    numbers = f"L2 {worst['l2'][0]} m there ({behind}), {number(whole)} m over every keyframe.{few}"
    if worst["values"][0] > (1 + STANDS_OUT_FROM) * whole:
        advice = f"Add scenes of “{worst['name']}” to the training, and look at its pictures."
        return Verdict("bad", f"Worst slice: {worst['name']}", numbers, advice)
    head = "Of the slices large enough to judge, none stands out" if few else "No slice stands out"
    return Verdict("open" if few else "good", f"{head}; the worst is {worst['name']}", numbers)


def teacher_verdict(facts: ReportFacts) -> Verdict | None:
    """Whether the teacher reads the scene tokens: right answers with its own against another scene's."""
    rows = answer_rows(facts)
    if not rows:
        return None
    total = rows[-1]
    numbers = (
        f"{total['own']} of {total['num']} held-out answers right with the scene’s own tokens, "
        f"{total['shuffled']} with another scene’s; difference {total['difference']} points "
        f"(95 %: {total['interval']})."
    )
    if not math.isfinite(total["low"]):
        return Verdict("open", "Too few scenes to tell whether the teacher reads them", numbers)
    if total["low"] > 0:
        return Verdict("good", "The teacher reads the scene", numbers)
    if total["high"] < 0:
        return Verdict("bad", "The teacher answers better with another scene’s tokens", numbers, TEACH_BETTER)
    return Verdict("open", "The teacher’s answers do not clearly depend on the scene", numbers, TEACH_BETTER)


def latency_verdict(facts: ReportFacts) -> Verdict | None:
    """How long one plan of the distilled planner takes; a fact, good news only under the half second of a step."""
    rows = facts.latencies[facts.latencies["planner"] == facts.planner]
    if rows.empty:
        return None
    row = rows.iloc[0]
    numbers = f"{number(row['p95_ms'], 1)} ms in 95 of 100 runs, batch {row['batch']}, on {row['device']}."
    mood: Mood = "good" if row["p95_ms"] < 500 else "bad"
    return Verdict(mood, f"One plan takes {number(row['p50_ms'], 1)} ms (median)", numbers)


def _more_scenes(facts: ReportFacts) -> str:
    where = "world.num_val_scenes" if facts.run.generates_world else "more recordings"
    return f"Score more scenes ({where}): the interval of the difference to the control becomes narrower."


def _train_more(facts: ReportFacts) -> str:
    where = "world.num_train_scenes" if facts.run.generates_world else "more recordings"
    return f"Train on more scenes ({where}) and for more steps: reading the speed from images needs examples."


def _difference_text(row: pd.Series) -> str:
    between, scenes = interval(row["low"], row["high"]), row["num_scenes"]
    if between == "–":
        return f"Difference in L2: {signed(row['mean'])} m, no interval ({many(scenes, 'scene')})."
    return f"Difference in L2: {signed(row['mean'])} m (95 % interval {between} m; {many(scenes, 'scene')})."
