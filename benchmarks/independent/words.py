"""The words of the pairs that no table defines, with the meaning taken here and the band in which we do not judge.

Inferred from how the words are used and from what a driver would mean; each verdict that rests on one names it.
"""

from typing import Final

SEEN_VISIBILITY: Final = 2.0
"""'there is', 'can be seen', 'nearest': boxes of visibility level 2 and more (over 40 % to be seen), or of no level."""
FRONT_DEG: Final = 30.0
"""'front' / 'back': centre within 30° of straight ahead / behind, seen from the ego origin; 'left', 'right' between."""
BESIDE_DEG: Final = 90.0
BORDER_DEG, BORDER_M = 0.01, 0.005
"""Nearer than this to a sector's or a range's border, an object counts or not: both are accepted as undecided."""
VEHICLES: Final = frozenset({"car", "truck", "bus", "trailer", "construction_vehicle"})
"""'vehicle': bicycles and motorcycles are named by themselves."""
CONSTRUCTION: Final = frozenset({"construction_vehicle", "traffic_cone", "barrier"})
"""'construction objects'."""
CATEGORIES: Final = {
    "car": "car",
    "truck": "truck",
    "bus": "bus",
    "trailer": "trailer",
    "construction vehicle": "construction_vehicle",
    "pedestrian": "pedestrian",
    "motorcycle": "motorcycle",
    "bicycle": "bicycle",
    "traffic cone": "traffic_cone",
    "barrier": "barrier",
}
STATUSES: Final = {
    "vehicle.moving": "moving",
    "vehicle.stopped": "stopped",
    "vehicle.parked": "parked",
    "pedestrian.moving": "moving",
    "pedestrian.standing": "standing",
    "pedestrian.sitting_lying_down": "sitting or lying",
}
"""'moving status': the annotated attribute; cycles by their speed. Denied where the speed says the contrary."""
STILL_MPS, WALKING_MPS = 0.1, 0.8
"""Annotated 'moving' below the first or as still above the second: the sentence is not true to what is seen."""
CYCLE_MOVES_MPS: Final = (0.2, 0.5)
"""Cycles 'move' above the second, do 'not move' below the first."""
LEVEL_M: Final = 1.0
"""A position leaves out 'ahead' or 'to the left' where it is less than 1 m."""
RELATIVE_M: Final = (1.0, 2.0)
"""'further ahead', 'further left': by more than the second; must not be said below the first."""
HEADING_DEG: Final = (30.0, 60.0, 120.0, 150.0)
"""'same direction' below 30°, 'from left to right' between 60° and 120°, 'opposite' above 150°."""
PASSED_M: Final = 8.0
"""'overtakes', 'passes': until the other is 8 m behind; 'has braked hard' ends where it plainly speeds up again;
'nothing special' is not a turn of 20° in 3 s."""
DIVIDER_M: Final = (2.6, 5.0)
DIVIDER_BESIDE_M: Final = (3.0, 6.0)
"""A divider 'to the left' bounds the lane within 2.6 m of the ego origin and runs within 3 m before or behind it;
'no' is sure where none runs within 5 m to that side and 6 m before or behind."""
CROSSING_M: Final = (24.5, 25.5)
"""'ahead' of a crossing: on the straight line or the driven path within 25 m; both must agree."""
STRIP_M: Final = (0.7, 1.15)
"""'in the way', 'on the path': a box within half the ego's width (0.925 m) of its path, band on both sides."""
PATH_M: Final = 30.0
"""The path: what is driven in 3 s, and straight on to 30 m."""
NEAR_M: Final = 5.0
"""Importance 'medium': comes within 5 m (centres) in 3 s; 'high': gets onto the path; 'low': neither."""
DISTANCE_CHANGE_M: Final = (1.0, 2.0)
"""'closer', 'further': by more than the second over 3 s; 'as far' below the first."""
STANDS_M, STEADY_M = 0.5, 1.0
"""'stays where it is' up to 0.5 m in 3 s; moves from 1 m."""
STOPPED_MPS: Final = (0.48, 0.52)
"""'stay stopped', 'stop', 'start' of the ego: below the first it stands, above the second it moves."""
AGENT_STOPPED_MPS: Final = (0.1, 0.8)
"""The same of others, whose speeds are differences of positions; between the two their attribute decides about now."""
AGENT_TURN_DEG: Final = (16.0, 24.0)
EGO_TURN_DEG: Final = (5.0, 20.0)
"""'going straight' below 5° in 3 s, 'slightly steering' to 20°, 'steering' and 'turn' above."""
ACCELERATIONS_MPS2: Final = (1.0, 1.5, 2.0, 2.5, 3.0)
BRAKING_MPS2: Final = (2.0, 3.0, 4.0, 5.0, 6.0)
STRAIGHT_SHARES: Final = (0.9, 1.0, 1.1)
TURN_RADII_M: Final = (5.5, 7.0, 9.0, 12.0)
TURN_LATERAL_MPS2: Final = (2.0, 3.0, 4.0)
TURN_MIN_MPS: Final = 3.0
"""'accelerates', 'brakes', 'goes straight', 'turns': these strengths, against the recorded future of the others."""
SPEEDS_MPS: Final = (0.5, 3.0, 8.0, 12.0)
"""'not moving', 'slowly', 'normal speed', 'fast', 'very fast': mean speed over the next 3 s."""
SPEED_WORDS: Final = ("not moving", "driving slowly", "driving with normal speed", "driving fast", "driving very fast")
BEHAVIOR_BAND: Final = 0.05
SPEED_AHEAD_MPS: Final = 0.2
"""A speed 'in 3 s' may be off by rounding and this much from the speed recorded 3 s later."""
SPEED_CHANGE: Final = ((1.0, 0.1), (1.6, 0.25))
"""'keep going' up to 1.6 m/s or 25 % over 3 s; 'slow down', 'speed up' from 1 m/s and 10 %."""

INTENTIONS: Final = {
    "change into the lane of the ego vehicle": ("cut_in",),
    "change lanes to the left": ("change_lane_left",),
    "change lanes to the right": ("change_lane_right",),
    "cross the road": ("crossing_pedestrian", "jaywalker", "hidden_jaywalker"),
    "keep its lane": ("keep_lane",),
    "keep standing in the lane": ("double_parked",),
    "keep standing": ("standing",),
    "pull out in front of the ego vehicle": ("pull_out",),
    "stay on the walkway": ("keep_walkway",),
    "stay parked": ("parked",),
    "wait at the red light": ("queue",),
    "turn left": ("turn_left",),
    "turn right": ("turn_right",),
    "ride on against the traffic": ("wrong_way",),
    "brake": ("brake",),
    "wait before it crosses the road": ("wait_to_cross",),
    "keep sitting": ("sitting",),
}
EVENTS: Final = {
    "A construction site narrows the lane": "construction",
    "A pedestrian crosses the road where there is no pedestrian crossing": "jaywalker",
    "A pedestrian walks across a pedestrian crossing": "crossing_pedestrian",
    "The ego vehicle drives on after a stop": "resume_from_stop",
    "The ego vehicle follows another vehicle": "lead_vehicle",
    "The ego vehicle makes a three-point turn": "three_point_turn",
    "The ego vehicle overtakes a parked vehicle": "overtaking",
    "The ego vehicle passes a double-parked vehicle": "double_parked_truck",
    "The ego vehicle turns left at a junction": "turn_left",
    "The ego vehicle turns right at a junction": "turn_right",
    "The road bends": "curve",
    "A bus ahead halts at a bus stop": "bus_stop",
    "An emergency vehicle comes from behind": "emergency_vehicle",
    "A pedestrian steps out from behind a parked vehicle": "hidden_jaywalker",
    "A cyclist comes towards the ego vehicle on the same lane": "wrong_way_cyclist",
    "The vehicle ahead has braked hard": "hard_braking_lead",
    "Vehicles ahead wait at a red light": "red_light_queue",
}
EVENTS_OF: Final = {
    r"An? (.+) changes into the lane of the ego vehicle": "cut_in",
    r"A parked (.+) pulls out in front of the ego vehicle": "pull_out",
}
