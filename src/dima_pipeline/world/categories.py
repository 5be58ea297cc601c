"""The names of nuScenes: categories, attributes, visibility levels, and the detection class of each category we use."""

CATEGORIES = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)
ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)
VISIBILITY_LEVELS = ("v0-40", "v40-60", "v60-80", "v80-100")
MOVING_MPS = 0.3
_AGENTS = {
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "vehicle.car": "car",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.rigid": "bus",
    "vehicle.truck": "truck",
    "vehicle.construction": "construction_vehicle",
    # nuScenes detects no emergency vehicles; these two are the shapes that they have.
    "vehicle.emergency.ambulance": "truck",
    "vehicle.emergency.police": "car",
    "vehicle.trailer": "trailer",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
}


def agent_category(category: str) -> str:
    """Detection class (``frames.AGENT_CATEGORIES``) of a nuScenes category that the world uses."""
    return _AGENTS[category]


def attribute(category: str, speed_mps: float, intention: str = "") -> str | None:
    """Attribute of an object, by its speed and by what it is about (``parked``, ``sitting``); none for what never
    moves."""
    moves, is_parked = abs(speed_mps) > MOVING_MPS, intention == "parked"
    if category.startswith("human."):
        still = "pedestrian.sitting_lying_down" if intention == "sitting" else "pedestrian.standing"
        return "pedestrian.moving" if moves else still
    if category in ("vehicle.bicycle", "vehicle.motorcycle"):
        return "cycle.without_rider" if is_parked else "cycle.with_rider"
    if category.startswith("vehicle."):
        return "vehicle.moving" if moves else "vehicle.parked" if is_parked else "vehicle.stopped"
    return None
