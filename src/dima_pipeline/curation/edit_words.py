"""The question about a scene edit and its answer: what is changed, what the ego should do now, and why."""

import numpy as np

from dima_pipeline.contracts.scene_words import DIRECTIONS, directions, singular
from dima_pipeline.curation.edit_places import Agent

STANDING_MPS = 0.5
ADDED = (
    "If there were a {name}, {motion}, what should the ego vehicle do, and why?",
    "A {name} is added, {motion}. What should the ego vehicle do now, and why?",
)
DELETED = (
    "If the {name} were not there, what should the ego vehicle do, and why?",
    "The {name} is taken away. What should the ego vehicle do now, and why?",
)
KEEP, KEEP_STANDING = "Keep going as before", "Stay stopped as before"
ACTIONS = {"slow": "Slow down", "stop": "Stop"}


def question(kind: str, agent: Agent, rng: np.random.Generator) -> str:
    """What is changed, in one of two wordings."""
    direction = DIRECTIONS[int(directions(agent.box[None, :2])[0])]
    name = f"{noun(agent.category)} {round(float(np.linalg.norm(agent.box[:2])))} m to the {direction}"
    wordings = ADDED if kind == "add" else DELETED
    return wordings[int(rng.integers(len(wordings)))].format(name=name, motion=_motion(agent))


def answer_to_add(label: str, side: str, agent: Agent, *, ego_stands: bool) -> str:
    """What to do about an added agent, and why."""
    name = noun(agent.category)
    if label == "keep":
        if ego_stands:
            return f"{KEEP_STANDING}, because the {name} keeps clear of the ego vehicle."
        return f"{KEEP}, because the {name} keeps clear of its way."
    action = f"Nudge to the {side}" if label == "nudge" else ACTIONS[label]
    is_beside = label == "nudge" and _stands(agent)
    return f"{action}, because the {name} {'reaches into its way' if is_beside else _hindrance(agent)}."


def answer_to_delete(label: str, agent: Agent, *, ego_stands: bool, was_leader: bool, before_crossing: bool) -> str:
    """What to do without a deleted agent, and why."""
    name = noun(agent.category)
    if label == "resume":
        return f"{'Start to drive' if ego_stands else 'Speed up'}, because the {name} no longer holds it up."
    action = KEEP_STANDING if ego_stands else KEEP
    if not was_leader:
        return f"{action}, because the {name} does not hold it up."
    if before_crossing:
        return f"{action}, because there is a crossing ahead."
    return f"{action}, because the {name} is not all that holds it up."


def noun(category: str) -> str:
    """``bicycle`` -> ``cyclist``, ``construction_vehicle`` -> ``construction vehicle``."""
    return "cyclist" if category == "bicycle" else singular(category)


def _motion(agent: Agent) -> str:
    if _stands(agent):
        return "standing still"
    verb = {"pedestrian": "walking", "bicycle": "riding"}.get(agent.category, "driving")
    return f"{verb} at {np.linalg.norm(agent.velocity):.1f} m/s"


def _hindrance(agent: Agent) -> str:
    if _stands(agent):
        return "stands in its way"
    turned = abs(float(agent.pose[0, 2]))
    if turned < np.pi / 4:
        return "is slower ahead of it"
    return "comes towards it" if turned > 3 * np.pi / 4 else "crosses its way"


def _stands(agent: Agent) -> bool:
    return bool(np.linalg.norm(agent.velocity) < STANDING_MPS)
