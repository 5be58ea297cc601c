"""Phrases that claims are made of, by what they stand for: verbs and values, alternatives separated by ``|``.

``*`` follows a verb that is also read in its other forms. Longer phrases win over shorter ones.
"""

from typing import Any

from dima_pipeline.curation.grounding.tolerances import SEVERAL

MANY = 10**6
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
COUNTS = {
    **{word: (float(number), float(number)) for number, word in enumerate(_NUMBERS.split())},
    **{"a pair of": (2.0, 2.0), "a couple of": (2.0, 3.0), "both": (2.0, 2.0), "several": SEVERAL},
    **{"many": SEVERAL, "multiple": (2, MANY), "a few": (2, MANY), "some": (1, MANY), "any": (1, MANY)},
    **{"a lot of": SEVERAL, "lots of": SEVERAL, "numerous": SEVERAL, "a number of": (2, MANY), "another": (1, MANY)},
    **{"a single": (1.0, 1.0), "only one": (1.0, 1.0), "exactly one": (1.0, 1.0), "at least one": (1, MANY)},
}
DIRECTIONS = {
    "front": "front|directly in front",
    "ahead": "ahead|straight ahead|directly ahead|in front|up ahead",
    "front left": "front left|left front|ahead left|ahead to the left|ahead on the left|front and left",
    "front right": "front right|right front|ahead right|ahead to the right|ahead on the right|front and right",
    "back left": "back left|left back|rear left|left rear|behind left|behind to the left|behind on the left",
    "back right": "back right|right back|rear right|right rear|behind right|behind to the right|behind on the right",
    "back": "back|rear",
    "behind": "behind|at the rear",
    "left": "left|left side|left hand side",
    "right": "right|right side|right hand side",
}
STATUSES = {
    "moving": "moving|in motion|driving|walking|travelling|traveling|riding|running|rolling",
    "parked": "parked",
    "stopped": "stopped|halted",
    "not moving": "not moving|stationary|static|immobile|at rest|motionless|standing still",
    "standing": "standing",
    "sitting": "sitting|lying|lying down|sitting or lying",
    "with rider": "with a rider|with rider|ridden",
    "without rider": "without a rider|without rider|riderless",
}
MOVES = {
    "stay": "stay* where it is|stay* stopped|stay* still|remain* stopped|remain* stationary"
    "|stay* stationary|remain* still|stand* still|stay* put|keep* still|remain* parked|remain* where it is|wait*",
    "start": "start* to move|start* moving|start* to drive|start* driving|drive* off|pull* away|set* off"
    "|begin* to move|begin* moving|start* off|start* to walk|start* walking|begin* to drive",
    "stop": "stop*|come* to a stop|halt*|come* to a halt|come* to a full stop|brake* to a stop|brake* to a standstill",
    "slow down": "slow* down|decelerate*|reduce* speed|reduce* its speed|brake*",
    "speed up": "speed* up|accelerate*|go* faster|drive* faster|increase* speed|increase* its speed",
    "keep going": "keep* going|keep* speed|keep* its speed|keep* the same speed|maintain* speed|maintain* its speed"
    "|keep* driving|continue* at the same speed|drive* on|keep* moving|carry* on",
    "keep walking": "keep* walking|walk* on|continue* walking|continue* to walk",
    "straight": "go* straight|drive* straight|go* straight ahead|drive* straight ahead|move* straight"
    "|continue* straight|keep* straight|go* straight on|drive* straight on|continue* straight ahead|head* straight"
    "|kept going straight|go* straight at the same speed",
    "turn left": "turn* left|turn* to the left|make* a left turn|take* a left turn|bear* left",
    "turn right": "turn* right|turn* to the right|make* a right turn|take* a right turn|bear* right",
    "change left": "change* lane to the left|change* lanes to the left|merge* left|merge* to the left",
    "change right": "change* lane to the right|change* lanes to the right|merge* right|merge* to the right",
    "reverse": "reverse*|back* up|drive* backwards|go* backwards|drive* backward",
}
STEERING = {
    ("slightly", "left"): "slightly steer* to the left|slightly steer* left|steer* slightly to the left"
    "|steer* slightly left",
    ("slightly", "right"): "slightly steer* to the right|slightly steer* right|steer* slightly to the right"
    "|steer* slightly right",
    ("turning", "left"): "steer* to the left|steer* left",
    ("turning", "right"): "steer* to the right|steer* right",
}
APPROACHES = {
    "closer": "come* closer|get* closer|be closer|closer",
    "farther": "be further away|further away|farther away|move* away|get* further away|be farther away",
    "same": "stay* as far away|as far away|stay* at the same distance|equally far away",
}
COURSES = {
    "same": "in the same direction as|in the same direction|same direction as|the same way as",
    "opposite": "in the opposite direction of|in the opposite direction|opposite direction of|oncoming",
    "leftward": "from right to left|right to left",
    "rightward": "from left to right|left to right",
}
RELATIONS = {
    "ahead": "further ahead|farther ahead",
    "behind": "further behind|farther behind|further back",
    "left": "further left|further to the left|farther left",
    "right": "further right|further to the right|farther right",
}
LAMPS = {
    "brake": "brake lights|brake light|braking lights",
    "turn_left": "left turn signal|left indicator|left blinker",
    "turn_right": "right turn signal|right indicator|right blinker",
    "hazard": "hazard lights|hazard lamps|both turn signals",
}
AIMS = {
    "keep_lane": "keep* its lane|stay* in its lane",
    "keep_walkway": "stay* on the walkway|stay* on the sidewalk",
    "parked": "stay* parked",
    "standing": "keep* standing",
    "double_parked": "keep* standing in the lane",
    "turn_left": "",
    "turn_right": "",
    "change_lane_left": "",
    "change_lane_right": "",
    "u_turn": "make* a u turn|make* a turn back",
    "queue": "wait* at the red light",
    "crossing": "cross* the road|cross* the street",
    "cut_in": "change* into the lane of the ego vehicle|cut* in",
    "pull_out": "pull* out in front of the ego vehicle|pull* out",
    "wrong_way": "ride* on against the traffic|ride* against the traffic",
}
"""What somebody intends; turns and lane changes are moves, whoever speaks of them."""
EVENTS = {
    "emergency_vehicle": "emergency vehicle comes from behind",
    "hidden_jaywalker": "steps out from behind a parked vehicle",
    "jaywalker": "crosses the road where there is no pedestrian crossing",
    "crossing_pedestrian": "walks across a pedestrian crossing|crosses at a crosswalk",
    "wrong_way_cyclist": "comes towards the ego vehicle on the same lane",
    "hard_braking_lead": "has braked hard|brakes hard",
    "cut_in": "changes into the lane of the ego vehicle|cuts in",
    "pull_out": "pulls out in front of the ego vehicle",
    "bus_stop": "halts at a bus stop",
    "red_light_queue": "wait at a red light",
    "construction": "construction site narrows the lane",
    "double_parked_truck": "passes a double parked vehicle",
    "overtaking": "overtakes a parked vehicle",
    "three_point_turn": "makes a three point turn",
    "u_turn": "makes a u turn",
    "resume_from_stop": "drives on after a stop",
    "turn_left": "turns left at a junction",
    "turn_right": "turns right at a junction",
    "curve": "road bends",
    "lead_vehicle": "follows another vehicle",
    "nothing": "nothing special|nothing unusual",
}
LEVELS = {"high": "high", "medium": "medium", "low": "low"}
PACES = {
    "slowly": "driving slowly|driving at low speed|driving slow|slowly|moving slowly",
    "normal": "driving with normal speed|driving at normal speed|driving normally|at normal speed|with normal speed",
    "very fast": "driving very fast|very fast|driving at very high speed",
    "fast": "driving fast|fast|driving at high speed|moving fast",
}
UNITS = {
    ("m", 1.0): "m|meter|meters|metre|metres",
    ("m", 0.3048): "ft|feet|foot",
    ("mps", 1.0): "m / s|mps|meters per second|metres per second|meter per second|metre per second",
    ("mps", 1 / 3.6): "km / h|kmh|kph|kilometers per hour|kilometres per hour|km per hour",
    ("mps", 0.44704): "mph|miles per hour",
    ("s", 1.0): "s|sec|second|seconds",
    ("percent", 0.01): "%|percent|per cent",
    ("deg", 1.0): "°|deg|degree|degrees",
}
COMPARISONS = {
    "about": "about|around|roughly|approximately|approx|nearly|almost|circa|ca|~",
    "less": "less than|under|below|fewer than|closer than|nearer than|slower than|<",
    "more": "more than|over|above|farther than|further than|beyond|faster than|>",
    "within": "within|up to|at most|no more than|inside|no farther than|no further than",
    "least": "at least|no less than",
    "between": "between",
}
SCENERY: dict[tuple[str, Any], str] = {
    ("daylight", "day"): "day|daytime|daylight|day time",
    ("daylight", "night"): "night|nighttime|night time",
    ("daylight", "dusk"): "dusk|twilight",
    ("weather", "rain"): "raining|rain|rainy|it rains|rainfall",
    ("weather", "after rain"): "wet after rain|after rain",
    ("weather", "dry"): "dry|not raining|no rain",
    ("color", "red"): "red",
    ("color", "yellow"): "yellow|amber|orange",
    ("color", "green"): "green",
}
PLAIN: dict[tuple[str, Any], str] = {
    ("ego", "ego"): "ego|ego vehicle|ego car|our car|our vehicle|we|us|the driver|its own car|self driving car"
    "|own vehicle|our|autonomous vehicle",
    ("it", "it"): "it|they|them|that|who",
    ("the", "the"): "the|this|its|these|those|their",
    ("a", "a"): "a|an",
    ("do", "do"): "do|does|did",
    ("not", "not"): "not|n't|isn't|aren't|doesn't|don't|won't|cannot|can't|never|wasn't|no longer|didn't",
    ("yes", True): "yes|correct|true",
    ("no", False): "no",
    ("none", "none"): "none|nothing|none of them|neither of them",
    ("nearest", 1): "nearest|closest",
    ("nearest", -1): "farthest|furthest|most distant",
    ("be", "be"): "is|are|be|being|has|have",
    ("to", "to"): "to|-|–",
    ("and", "and"): "and|as well as|plus|also",
    ("comma", ","): ",",
    ("of", "of"): "of|from|than",
    ("now", "now"): "now",
    ("there", "there"): "there|see|i can see|one can see|we can see|you can see|can see",
    ("will", "will"): "will|going to|in the next|over the next|soon",
    ("hedge", "hedge"): "if|could|might|may|unless|whether|when|would|can|potential|potentially|possible|possibly"
    "|probably|perhaps|maybe|likely|in case|assume|suppose|seems|seem|appears|appear|was|were|had|until|before"
    "|after|neither|nor|not all|not every|hardly|barely|except|instead of|rather than|without|other than|either",
    ("should", "should"): "should|must|needs to|need to|has to|have to|ought to|advisable|recommended",
    ("because", "because"): "because|since|so that|due to|as there",
    ("path", "now"): "in the moving direction of|in the path of|on the path of|in the driving direction of"
    "|in the way of|in the way",
    ("path", "will"): "be in the way of|be in the way|get onto the path of|get in the way of|cross the path of"
    "|come onto the path of|get in the way|enter the path of",
    ("clear", "clear"): "way ahead is clear|way is clear|road ahead is clear|road is clear|path is clear|lane is clear"
    "|way is free|road is free|path ahead is clear",
    ("turn_ahead", "turn"): "turn ahead",
    ("dangerous", False): "hit something|hit anything|collision|collide|hit|dangerous|unsafe|lead to a collision"
    "|cause a collision|lead to a collision with|collide with|lead to collisions|cause a collision with",
    ("dangerous", True): "safe",
    ("toward", "toward"): "driving towards|driving toward|heading for|heading towards|approaching|approach|approaches"
    "|bounded by|distance between|gap between",
    ("apart", "apart"): "next to|beside|alongside|near to|close to|following|follows|overtaking|passing|past|between"
    "|towards|toward|across from|opposite|on top of|relative to|compared to|compared with|leaving",
}
OTHER = (
    "bus stop|bus stops|bus lane|stop sign|stop signs|stop line|car park|parking lot|parking space|parking spaces"
    "|right of way|right now|left lane|right lane|left turn|right turn|truck stop|police car|police cars|ambulance"
    "|ambulances|fire truck|fire trucks|fire engine|bike lane|bicycle lane|bike rack|bicycle rack|pedestrian zone"
    "|pedestrian bridge|pedestrian light|stop and go|car door|second lane|one another|one way|each other"
    "|the right lane|the left lane|have left|has left|back and forth|people mover|no way|traffic jam"
    "|left of the road|right of the road|one of|most|still life|two way|far right|far left"
)
"""What looks like a claim and is none, so that it is passed over as a whole."""
INTENTS = {
    "count": "how many|what is the number of|what number of",
    "distance": "how far|what is the distance|what distance|at what distance|how close|how near|how long is the path"
    "|what will be the distance|what will be the distance between|what is the distance between|how many metres should",
    "speed": "how fast|what is the speed|what speed|at what speed",
    "direction": "where|which direction|what direction|in which direction|in what direction|on which side|which way",
    "offset": "where exactly|relative position|ahead or behind|where , in metres",
    "kinds": "what kinds of|which kinds of|what types of|which types of|what kind of|what can be seen|what is there"
    "|which kind of|kinds of|types of|can be seen",
    "which": "what|which",
    "important": "important|should the ego vehicle watch|consider first|highest priority|most important",
    "order": "order",
    "gap": "the distance between|distance between|the gap between",
    "importance": "importance|how important|matter to",
    "identity": "what object is|visual description|what is the object",
    "status": "moving status|status",
    "motion": "future state|do next|how will",
    "when": "in how many seconds|at what time in|after how many seconds",
    "action": "safe action|target action|what should|do and why|which action should",
    "danger": "what actions|which actions|dangerous actions",
    "behavior": "behavior|behaviour",
    "probability": "probability|how likely|likelihood|chance",
    "aim": "intend|intends|intention|about to do|plan to do|plans to|intends to|intend to",
    "turn_signal": "turn signal|turn signals|signal , and",
    "event": "happening|going on|which event|special situation",
    "or": "or",
}
