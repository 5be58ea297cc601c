"""The questions about objects that are there now, as patterns of the normalised text, with their checkers."""

from independent import perception
from independent.asked import KINDS, WHERE, WITHIN, Checker

STATUS = r"(?P<status>moving|parked|stopped|standing|not moving|sitting or lying)"
SHAPES: dict[str, tuple[tuple[str, ...], Checker]] = {
    "count": (
        (
            rf"How many {KINDS} are (?:there )?{WHERE} {WITHIN}\?",
            rf"What is the number of {KINDS} {WHERE} {WITHIN}\?",
            rf"Count the {KINDS} {WHERE} {WITHIN}: how many are there\?",
        ),
        perception.check_count,
    ),
    "count by kind": (
        (
            rf"(?:What are the|List and count the|Which|What) objects (?:are )?(?:there )?{WHERE} {WITHIN}"
            r"(?:\?|\.|, and how many of each kind\?|, counted by kind\?)",
        ),
        perception.check_kind_counts,
    ),
    "construction kinds": (
        (
            rf"(?:What|Which) (?:kinds of )?construction objects (?:are|can be seen) (?:near|around) the ego vehicle,? "
            rf"{WITHIN}\?",
        ),
        perception.check_construction_kinds,
    ),
    "kinds": (
        (
            rf"(?:What|Which) (?:kinds|types) of objects (?:are|can be seen) (?:there )?{WHERE} {WITHIN}\?",
            rf"What can be seen {WHERE} {WITHIN}\?",
        ),
        perception.check_kinds,
    ),
    "count by status": (
        (
            rf"How many {KINDS} {WHERE} {WITHIN} move, and how many do not\?",
            rf"In which status are the {KINDS} {WHERE} {WITHIN}, and how many of them\?",
            rf"What are the {KINDS} {WHERE} {WITHIN} doing\?",
            rf"What is the status of the {KINDS} {WHERE} {WITHIN}\?",
        ),
        perception.check_statuses,
    ),
    "any of a status": (
        (
            rf"Are there {STATUS} {KINDS} {WHERE} {WITHIN}\?",
            rf"Can {STATUS} {KINDS} be seen {WHERE} {WITHIN}\?",
            rf"Is (?:there any|at least one) {STATUS} {KINDS} {WHERE} {WITHIN}\?",
        ),
        perception.check_any_status,
    ),
    "distance of the nearest": (
        (rf"(?:At what distance is|How far(?: away)? is|What is the distance to) the nearest {KINDS} {WHERE}\?",),
        perception.check_nearest_distance,
    ),
    "direction of the nearest": (
        (
            rf"(?:Where|In which direction) is the nearest {KINDS}\?",
            rf"(?:On which side|In what direction) of the ego vehicle is the nearest {KINDS}\?",
        ),
        perception.check_nearest_direction,
    ),
    "distance": (
        (
            r"(?:At what distance from the ego vehicle|How far away) is OBJ\?",
            r"How far is OBJ from the ego vehicle\?",
            r"What is the distance to OBJ\?",
        ),
        perception.check_distance,
    ),
    "relation of two": (
        (
            r"How does OBJ lie relative to OBJ\?",
            r"Seen from the ego vehicle, where is OBJ compared to OBJ\?",
            r"What is the relative position of OBJ to OBJ\?",
            r"Where is OBJ relative to OBJ\?",
        ),
        perception.check_relative,
    ),
    "position": (
        (
            r"How many metres ahead or behind, and to which side, is OBJ\?",
            r"What is the relative position of OBJ to the ego vehicle\?",
            r"Where exactly is OBJ\?",
            r"Where, in metres, is OBJ relative to the ego vehicle\?",
        ),
        perception.check_position,
    ),
    "speed": (
        (
            r"At what speed, in (?:km/h|m/s), is (?:OBJ|the ego vehicle) moving\?",
            r"How fast, in (?:km/h|m/s), is OBJ\?",
            r"How fast is (?:OBJ moving|the ego vehicle driving), in (?:km/h|m/s)\?",
            r"What is the speed of (?:OBJ|the ego vehicle),? in (?:km/h|m/s)\?",
            r"How many (?:km/h|m/s) does the ego vehicle drive\?",
        ),
        perception.check_speed,
    ),
    "status": (
        (r"(?:In which moving status is|What is the (?:moving )?status of) OBJ\?", r"Is OBJ moving or not\?"),
        perception.check_status,
    ),
    "heading": (
        (
            r"In what direction does OBJ move relative to the ego vehicle\?",
            r"In which direction is OBJ moving\?",
            r"Where is OBJ heading, seen from the ego vehicle\?",
            r"Which way does OBJ move, seen from the ego vehicle\?",
        ),
        perception.check_heading,
    ),
    "description": (
        (
            r"What (?:object is|can be seen at) OBJ\?",
            r"What is the visual description of OBJ\?",
            r"Which kind of object is OBJ,? and where is it\?",
        ),
        perception.check_description,
    ),
    "rider": (
        (
            r"Does OBJ have a rider\?",
            r"Is OBJ (?:ridden by anyone|with or without a rider)\?",
            r"Is there a rider on OBJ\?",
        ),
        perception.check_rider,
    ),
}
