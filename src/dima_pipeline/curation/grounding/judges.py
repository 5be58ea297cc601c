"""Who judges what: the function that weighs a value of each kind, said of an object, of the ego or of the scene."""

from typing import Any

from dima_pipeline.curation.grounding import ego, importance, motion, relations, scene, simulated, states
from dima_pipeline.curation.grounding.objects import Judge, direction

OBJECT_JUDGES: dict[str, Judge] = {
    "direction": direction,
    "measure": states.measure,
    "near": states.near,
    "offset": relations.offset,
    "later": relations.later,
    "approach": relations.approach,
    "nearest_time": relations.nearest_time,
    "course": relations.course,
    "status": states.status,
    "path": states.path,
    "move": motion.move,
    "lamp": simulated.lamp,
    "aim": simulated.aim,
    "level": importance.level,
}
EGO_JUDGES: dict[str, Any] = {
    "move": ego.move,
    "advice": ego.advice,
    "steer": ego.steer,
    "pace": ego.pace,
    "measure": ego.measure,
    "speed_later": ego.speed_later,
    "status": ego.status,
    "turn_ahead": ego.turn_ahead,
}
SCENE_JUDGES: dict[str, Any] = {"daylight": scene.daylight, "weather": scene.weather}
NAMES = {
    **{"measure": "distance", "near": "nearness", "later": "distance", "nearest_time": "time", "offset": "position"},
    **{"move": "motion", "aim": "intention", "level": "importance", "course": "heading"},
}
"""Kind of claim where it is not that of the value."""
EGO_NAMES = {
    **{"move": "action", "advice": "action", "turn_ahead": "action", "steer": "behaviour", "pace": "behaviour"},
    **{"measure": "speed", "speed_later": "speed"},
}


def name_of(kind: str, value: Any) -> str:
    """Kind of claim of a value that is said of an object."""
    if kind == "measure" and value.unit == "mps":
        return "speed"
    return NAMES.get(kind, kind)
