"""Lamps and signals as a stranger sees them: by the pixels that turn to their colour."""

import numpy as np
import pytest

from dima_pipeline.geometry import invert_rigid, project, rigid
from dima_pipeline.world.lights import Lights
from dima_pipeline.world.render_lamps import shining
from dima_pipeline.world.renderer import Backdrop, RenderBox, Renderer, RenderSignal
from dima_pipeline.world.sensors import camera_rig

SIZES = {
    "car": (4.6, 1.9, 1.6),
    "truck": (8.0, 2.5, 3.2),
    "bus": (11.0, 2.9, 3.4),
    "trailer": (10.0, 2.6, 3.6),
    "construction_vehicle": (6.0, 2.7, 3.0),
    "motorcycle": (2.1, 0.8, 1.5),
}
DAY = Backdrop()
VIEWS = {(320, 180): 20.0, (160, 96): 12.0}
"""Picture size and how far away (m) lamps must be seen in it."""


@pytest.fixture(scope="module", params=list(VIEWS), ids=str)
def front(request):
    """A renderer, the front camera of a rig of its size at the origin, and the distance that counts."""
    renderer = Renderer(*request.param)
    camera = camera_rig(*request.param)[0]
    view = camera.intrinsics, invert_rigid(rigid(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0, 0, 1.5])))
    yield renderer, view, VIEWS[request.param]
    renderer.close()


def shown(front, lights, yaw=0.0, category="car", backdrop=DAY, color=(90, 94, 100)):
    """The picture of a vehicle straight ahead; yaw 0 shows its rear, pi its front."""
    renderer, view, away = front
    renderer.set_ground([], [], backdrop)
    size = SIZES[category]
    center = np.array([away + size[0] / 2, 0.0, size[2] / 2])
    renderer.set_boxes([RenderBox(center, yaw, size, category, 1, color, lights)])
    return renderer.render(*view).astype(int)


def is_red(picture):
    return (picture[..., 0] > 200) & (picture[..., 1] < 90) & (picture[..., 2] < 90)


def is_orange(picture):
    return (picture[..., 0] > 190) & (abs(picture[..., 1] - 130) < 45) & (picture[..., 2] < 80)


def is_blue(picture):
    return (picture[..., 2] > 200) & (picture[..., 0] < 110)


@pytest.mark.parametrize("light", ["day", "dusk", "night"])
@pytest.mark.parametrize("category", ["car", "truck", "bus", "trailer", "construction_vehicle"])
def test_braking_turns_pixels_red_on_both_sides_of_the_rear(front, category, light):
    backdrop = Backdrop(light)
    rolling, braking = (shown(front, Lights(brake=b), category=category, backdrop=backdrop) for b in (False, True))
    turned = is_red(braking) & ~is_red(rolling)
    middle = turned.shape[1] // 2
    assert turned[:, :middle].sum() >= 5 and turned[:, middle:].sum() >= 5
    assert not is_red(rolling).any()


def test_a_braking_car_shows_a_third_lamp_above_the_other_two(front):
    red = is_red(shown(front, Lights(brake=True)))
    rows = np.nonzero(red.any(1))[0]
    highest, lowest = (np.nonzero(red[row])[0] + 0.5 - front[0].width / 2 for row in (rows[0], rows[-1]))
    assert abs(highest).min() <= 1 and abs(highest).max() < abs(lowest).max()
    assert abs(lowest).min() > 0.4 * abs(lowest).max()


@pytest.mark.parametrize("category", SIZES)
@pytest.mark.parametrize("yaw", [0.0, np.pi], ids=["rear", "front"])
def test_a_turn_signal_is_orange_on_its_own_side_only(front, category, yaw):
    """Seen from behind the left lamp is on the left; of a vehicle that comes towards the camera, on the right."""
    if category == "trailer" and yaw:
        pytest.skip("the front of a trailer hangs on its tractor")
    for lights, is_left in ((Lights(left=True), True), (Lights(right=True), False)):
        orange = is_orange(shown(front, lights, yaw, category))
        middle = orange.shape[1] // 2
        halves = orange[:, :middle].sum(), orange[:, middle:].sum()
        ours, other = halves if is_left == (yaw == 0.0) else halves[::-1]
        assert ours >= (2 if category == "motorcycle" else 5)
        assert other == 0


def test_hazard_lights_show_on_both_sides_and_nothing_shows_when_they_are_off(front):
    for category in ("car", "truck"):
        orange = is_orange(shown(front, Lights(left=True, right=True), category=category))
        middle = orange.shape[1] // 2
        assert min(orange[:, :middle].sum(), orange[:, middle:].sum()) >= 5
        assert not is_orange(shown(front, Lights(), category=category)).any()


def test_turn_signals_are_seen_from_the_side(front):
    renderer, view, away = front
    renderer.set_ground([], [], Backdrop())
    for lights, num_lit in ((Lights(left=True), 2), (Lights(right=True), 0)):
        box = RenderBox(np.array([away, 0, 0.8]), -np.pi / 2, SIZES["car"], "car", 1, (90, 94, 100), lights)
        renderer.set_boxes([box])
        orange = is_orange(renderer.render(*view).astype(int))
        halves = orange[:, : renderer.width // 2].any(), orange[:, renderer.width // 2 :].any()
        assert sum(halves) == (0 if num_lit else 2)


@pytest.mark.parametrize("category", SIZES)
@pytest.mark.parametrize("light", ["day", "night"])
def test_an_emergency_vehicle_has_a_blue_bar_within_its_box(front, category, light):
    _, view, away = front
    blue = is_blue(shown(front, Lights(emergency=True), category=category, backdrop=Backdrop(light)))
    assert blue.sum() >= (3 if category == "motorcycle" else 5)
    assert not is_blue(shown(front, Lights(), category=category, backdrop=Backdrop(light))).any()
    # the bar is part of the vehicle: the rows it covers are those of the box
    top, _ = project(view[0] @ view[1][:3], np.array([[away, 0, SIZES[category][2]]]))
    assert np.nonzero(blue)[0].min() >= np.floor(top[0, 1])


def test_headlamps_are_white_at_night_and_tail_lamps_dim_red(front):
    night = Backdrop("night")
    ahead, behind = (shown(front, Lights(), yaw, backdrop=night) for yaw in (np.pi, 0.0))
    assert (ahead.min(-1) > 190).sum() >= 5
    assert ((behind[..., 0] > 120) & (behind[..., 0] < 190) & (behind[..., 1] < 60)).sum() >= 5


def test_lamps_shine_by_what_is_switched_on_and_by_the_dark():
    assert shining(Lights(), False) == {}
    assert set(shining(Lights(), True)) == {"head", "tail"}
    assert set(shining(Lights(brake=True, left=True), False)) == {"tail", "brake", "left"}
    dim, bright = shining(Lights(), True)["tail"], shining(Lights(brake=True), True)["tail"]
    assert bright[0] > dim[0] + 50


SIGNAL_TESTS = {
    "red": lambda p: (p[..., 0] > 180) & (p[..., 1] < 100),
    "yellow": lambda p: (p[..., 0] > 180) & (p[..., 1] > 130) & (p[..., 2] < 100),
    "green": lambda p: (p[..., 1] > 160) & (p[..., 0] < 110),
}


@pytest.mark.parametrize(
    "backdrop", [Backdrop(), Backdrop("night"), Backdrop("dusk"), Backdrop("day", "rain")], ids=str
)
@pytest.mark.parametrize("color", ["red", "yellow", "green"])
def test_the_colour_of_a_signal_is_read_at_25_m(color, backdrop):
    renderer, camera = Renderer(320, 180), camera_rig(320, 180)[0]
    view = camera.intrinsics, invert_rigid(rigid(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0, 0, 1.5])))
    renderer.set_ground([], [], backdrop)
    center = np.array([25.0, -4.0, 4.2])
    renderer.set_signals([RenderSignal(center, np.pi, color)])
    picture = renderer.render(*view).astype(int)
    renderer.set_signals([])
    bare = renderer.render(*view).astype(int)
    renderer.close()
    lit = {name: test(picture) & ~test(bare) for name, test in SIGNAL_TESTS.items()}
    assert lit[color].sum() >= 12
    assert all(not found.any() for name, found in lit.items() if name != color)
    # red hangs above, green below the middle of the face
    (middle,), _ = project(view[0] @ view[1][:3], center[None])
    height = middle[1] - np.nonzero(lit[color])[0].mean()
    assert {"red": 4 < height < 10, "yellow": abs(height) < 2, "green": -10 < height < -4}[color]


def test_a_signal_is_dark_from_behind_and_hides_what_is_behind_its_pole():
    renderer, camera = Renderer(320, 180), camera_rig(320, 180)[0]
    view = camera.intrinsics, invert_rigid(rigid(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0, 0, 1.5])))
    renderer.set_ground([], [], Backdrop("night"))
    renderer.set_boxes([RenderBox(np.array([30.0, 0, 2.0]), 0.0, (1.0, 8.0, 4.0), "barrier", 9)])
    whole = (renderer.render_instances(*view) == 9).sum()
    renderer.set_signals([RenderSignal(np.array([12.0, 0.0, 3.0]), 0.0, "red")])
    assert not SIGNAL_TESTS["red"](renderer.render(*view).astype(int)).any()
    assert (renderer.render_instances(*view) == 9).sum() < 0.95 * whole
    assert set(np.unique(renderer.render_instances(*view))) == {0, 9}
    renderer.close()
