"""Camera images of boxes on a painted ground, by Panda3D's software rasteriser: no display, no GPU, no files.

The camera is a true pinhole: any intrinsics, any pose. World coordinates may be kilometres from the origin, since
everything is placed relative to the camera in double precision. Colour is drawn at three times the size and averaged;
a second pass draws exact instance ids.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int32, UInt8
from panda3d import core

from dima_pipeline.geometry import invert_rigid
from dima_pipeline.world.render_boxes import box_mesh, shadow_mesh
from dima_pipeline.world.render_ground import ground_layers
from dima_pipeline.world.render_types import (
    Backdrop,
    GroundArea,
    GroundLine,
    Mesh,
    RenderBox,
    tint,
)

__all__ = ["Backdrop", "GroundArea", "GroundLine", "RenderBox", "Renderer"]

Array = np.ndarray

NEAR_M: Final = 0.5
FAR_M: Final = 4000.0
_SUPERSAMPLE: Final = 3
"""Odd, so that one sample lies on the pixel centre."""
_TILE_M: Final = 60.0
_SHADOW_SORT: Final = 1000
"""After all layers of the ground."""
_PANDA_FROM_CAMERA: Final = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Camera: x right, y down, z forward. Panda3D: x right, y forward, z up."""
_SKIES: Final = {
    # horizon, zenith
    ("day", "clear"): ((206, 220, 232), (96, 148, 208)),
    ("day", "rain"): ((168, 172, 176), (132, 138, 146)),
    ("dusk", "clear"): ((226, 160, 112), (74, 84, 128)),
    ("dusk", "rain"): ((134, 120, 116), (84, 84, 96)),
    ("night", "clear"): ((38, 40, 54), (10, 12, 24)),
    ("night", "rain"): ((42, 42, 50), (22, 23, 30)),
}
_TERRAIN_RGB: Final = (126, 128, 104)
_RING_ELEVATIONS: Final = np.deg2rad([-3.0, 0.0, 4.0, 12.0, 30.0, 89.9])
_RING_RADII_M: Final = (0.1, 40.0, 120.0, 400.0, 3000.0)
_SPOKES: Final = 24
_SETTINGS: Final = (
    "notify-level error",
    "audio-library-name null",
    "want-pstats #f",
    "garbage-collect-states #t",
    # The cache takes transforms that differ by less than a millionth for one and hands out the one it met first: what
    # a process drew before would move edges by a pixel.
    "transform-cache #f",
)


class Renderer:
    """Draws ``width`` x ``height`` images; call ``set_ground`` once a scene, ``set_boxes`` once a frame.

    Several may be made one after the other or side by side, in any process. The pictures depend on the arguments
    alone. Reuse a renderer where you can: Panda3D keeps the frame buffer of a closed one (8 bytes a sample, 4 MB at
    320 x 180) until the process ends.
    """

    def __init__(self, width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise ValueError(f"an image has at least one pixel a side, got {width} x {height}")
        self.width, self.height = width, height
        self._engine, self._buffer, self._texture = _offscreen(width * _SUPERSAMPLE, height * _SUPERSAMPLE)
        self._lens = core.PerspectiveLens()
        self._lens.set_near_far(NEAR_M, FAR_M)
        self._colors, self._ids = _scene_root("colors"), _scene_root("ids")
        self._ids.set_attrib(core.ShadeModelAttrib.make(core.ShadeModelAttrib.M_flat))
        self._camera = core.NodePath(core.Camera("camera", self._lens))
        self._buffer.make_display_region().set_camera(self._camera)
        self._sky, self._terrain = (self._colors.attach_new_node(name) for name in ("sky", "terrain"))
        self._ground, self._shadows = (self._colors.attach_new_node(name) for name in ("ground", "shadows"))
        self._color_boxes, self._id_boxes = self._colors.attach_new_node("boxes"), self._ids.attach_new_node("boxes")
        self._ground_origin = self._box_origin = np.zeros(3)
        self._backdrop = Backdrop()
        self.set_ground([], [], self._backdrop)

    def set_ground(self, areas: Sequence[GroundArea], lines: Sequence[GroundLine], backdrop: Backdrop) -> None:
        """Replace the ground, the sky and the light; boxes set before keep the light they were set in."""
        self._backdrop = backdrop
        horizon, zenith = _SKIES[backdrop.light, backdrop.weather]
        _replace(self._sky, [_sky(np.array(horizon), np.array(zenith))], np.zeros(3), 0)
        near = tint(np.array(_TERRAIN_RGB), backdrop)
        _replace(self._terrain, [_terrain(near, np.array(horizon))], np.zeros(3), 1)
        layers = ground_layers(areas, lines, backdrop)
        self._ground_origin = layers[0].points.mean(0) if layers else np.zeros(3)
        self._ground.node().remove_all_children()
        for sort, layer in enumerate(layers, start=2):
            _replace(self._ground.attach_new_node("layer"), _tiles(layer), self._ground_origin, sort)

    def set_boxes(self, boxes: Sequence[RenderBox]) -> None:
        """Replace the boxes of the frame."""
        self._box_origin = np.asarray(boxes[0].center, float) if boxes else np.zeros(3)
        mesh, id_colors = box_mesh(boxes, self._backdrop)
        _replace(self._color_boxes, [mesh], self._box_origin)
        _replace(self._id_boxes, [Mesh(mesh.points, id_colors, mesh.triangles)], self._box_origin)
        _replace(self._shadows, [shadow_mesh(boxes, self._backdrop)], self._box_origin, _SHADOW_SORT)

    def render(self, intrinsics: Float[Array, "3 3"], camera_from_world: Float[Array, "4 4"]) -> UInt8[Array, "H W 3"]:
        """Red, green, blue of the view; pixel centres lie at integer + 0.5, as in ``geometry.project``."""
        pixels = self._draw(self._colors, intrinsics, camera_from_world)
        lines = pixels.reshape(self.height, _SUPERSAMPLE, self.width * _SUPERSAMPLE, 4)
        rows = lines[:, 0].astype(np.uint16)
        for line in range(1, _SUPERSAMPLE):
            rows += lines[:, line]
        # the four 16-bit channels of a sample are summed as one 64-bit number: none can overflow into the next
        packed = rows.view(np.uint64)[..., 0]
        total = sum(packed[:, column::_SUPERSAMPLE] for column in range(1, _SUPERSAMPLE)) + packed[:, ::_SUPERSAMPLE]
        summed = np.ascontiguousarray(total)[..., None].view(np.uint16)[..., 2::-1]
        return ((summed + _SUPERSAMPLE**2 // 2) // _SUPERSAMPLE**2).astype(np.uint8)

    def render_instances(
        self, intrinsics: Float[Array, "3 3"], camera_from_world: Float[Array, "4 4"]
    ) -> Int32[Array, "H W"]:
        """Instance id of the nearest box at each pixel centre; 0 where there is none."""
        pixels = self._draw(self._ids, intrinsics, camera_from_world)
        kept = slice(_SUPERSAMPLE // 2, None, _SUPERSAMPLE)
        blue, green, red = (pixels[kept, kept, channel].astype(np.int32) for channel in range(3))
        return red << 16 | green << 8 | blue

    def close(self) -> None:
        """Free the buffers; the renderer cannot draw afterwards."""
        self._engine.remove_all_windows()
        for root in (self._colors, self._ids):
            root.node().remove_all_children()

    def _draw(
        self, root: Any, intrinsics: Float[Array, "3 3"], camera_from_world: Float[Array, "4 4"]
    ) -> UInt8[Array, "h w 4"]:
        """One pass at the buffer's size, blue-green-red-alpha, top row first."""
        _set_pinhole(self._lens, np.asarray(intrinsics, float), (self.width, self.height))
        world_from_camera = invert_rigid(np.asarray(camera_from_world, float))
        position = world_from_camera[:3, 3]
        pose = np.eye(4)
        pose[:3, :3] = world_from_camera[:3, :3]
        self._camera.reparent_to(root)
        self._camera.set_mat(_panda_matrix(pose @ _PANDA_FROM_CAMERA.T))
        self._terrain.set_pos(0, 0, float(-position[2]))
        self._ground.set_pos(*map(float, self._ground_origin - position))
        for node in (self._color_boxes, self._id_boxes, self._shadows):
            node.set_pos(*map(float, self._box_origin - position))
        self._engine.render_frame()
        shape = (self.height * _SUPERSAMPLE, self.width * _SUPERSAMPLE, 4)
        return np.frombuffer(self._texture.get_ram_image(), np.uint8).reshape(shape)[::-1]


def _offscreen(width: int, height: int) -> tuple[Any, Any, Any]:
    """An engine of its own with one software buffer that is copied to a texture in memory."""
    core.load_prc_file_data("", "\n".join(_SETTINGS))
    pipe = core.GraphicsPipeSelection.get_global_ptr().make_pipe("TinyOffscreenGraphicsPipe", "p3tinydisplay")
    assert pipe is not None, "Panda3D was built without its software renderer"
    engine = core.GraphicsEngine()
    wanted = core.FrameBufferProperties()
    wanted.set_rgba_bits(8, 8, 8, 8)
    wanted.set_depth_bits(24)
    size = core.WindowProperties.size(width, height)
    buffer = engine.make_output(pipe, "renderer", 0, wanted, size, core.GraphicsPipe.BF_refuse_window)
    assert buffer is not None
    buffer.set_clear_color((0, 0, 0, 0))
    texture = core.Texture()
    buffer.add_render_texture(texture, core.GraphicsOutput.RTM_copy_ram)
    return engine, buffer, texture


def _scene_root(name: str) -> Any:
    root = core.NodePath(name)
    root.set_attrib(core.ColorAttrib.make_vertex())
    return root


def _set_pinhole(lens: Any, intrinsics: Float[Array, "3 3"], size: tuple[int, int]) -> None:
    """Film of the image's size in units of the focal lengths, shifted to the principal point.

    The rasteriser maps the film to half a sample less than its buffer; the film is cut by as much. It also fills
    every sample that a polygon touches, which makes outlines half a sample wider on average, evenly on all sides.
    """
    width, height = (pixels - 0.5 / _SUPERSAMPLE for pixels in size)
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    lens.set_film_size(width / fx, height / fy)
    lens.set_focal_length(1.0)
    lens.set_film_offset((width / 2 - cx) / fx, (cy - height / 2) / fy)


def _panda_matrix(matrix: Float[Array, "4 4"]) -> Any:
    return core.LMatrix4f(*matrix.T.ravel().tolist())


def _replace(node: Any, meshes: list[Mesh], origin: Float[Array, "3"], background: int | None = None) -> None:
    """Give a node new geometry; ``background`` paints it in that order, without depth."""
    node.node().remove_all_children()
    for mesh in meshes:
        if not len(mesh.triangles):
            continue
        geometry = core.GeomNode("mesh")
        geometry.add_geom(_geom(mesh, origin))
        node.attach_new_node(geometry)
    if background is not None:
        node.set_bin("background", background)
        node.set_depth_test(False)
        node.set_depth_write(False)
        node.set_two_sided(True)


def _geom(mesh: Mesh, origin: Float[Array, "3"]) -> Any:
    records = np.empty(len(mesh.points), [("point", np.float32, 3), ("rgba", np.uint8, 4)])
    records["point"] = mesh.points - origin
    records["rgba"][:, :3] = mesh.rgb
    records["rgba"][:, 3] = 255
    rows = core.GeomVertexData("mesh", core.GeomVertexFormat.get_v3c4(), core.Geom.UH_static)
    rows.unclean_set_num_rows(len(records))
    memoryview(rows.modify_array(0)).cast("B")[:] = records.tobytes()  # type: ignore[arg-type]
    faces = core.GeomTriangles(core.Geom.UH_static)
    faces.set_index_type(core.Geom.NT_uint32)
    indices = faces.modify_vertices()
    indices.unclean_set_num_rows(mesh.triangles.size)
    memoryview(indices).cast("B")[:] = mesh.triangles.astype(np.uint32).tobytes()  # type: ignore[arg-type]
    geom = core.Geom(rows)
    geom.add_primitive(faces)
    return geom


def _tiles(mesh: Mesh) -> list[Mesh]:
    """The same triangles in square tiles, so that those out of sight are skipped."""
    tiles = np.floor(mesh.points[mesh.triangles, :2].mean(1) / _TILE_M).astype(np.int64)
    _, owner = np.unique(tiles, axis=0, return_inverse=True)
    pieces = []
    for tile in range(owner.max() + 1):
        used, triangles = np.unique(mesh.triangles[owner.ravel() == tile], return_inverse=True)
        pieces.append(Mesh(mesh.points[used], mesh.rgb[used], triangles.reshape(-1, 3)))
    return pieces


def _rings(heights: Sequence[float], radii: Sequence[float], rgb: Float[Array, "R 3"]) -> Mesh:
    """Bands between concentric rings around the camera, coloured by ring."""
    angles = np.arange(_SPOKES) * 2 * np.pi / _SPOKES
    circle = np.stack([np.cos(angles), np.sin(angles), np.zeros(_SPOKES)], 1)
    points = np.concatenate([circle * radius + (0, 0, height) for height, radius in zip(heights, radii, strict=True)])
    inner = np.arange((len(radii) - 1) * _SPOKES)
    after = inner - inner % _SPOKES + (inner + 1) % _SPOKES
    triangles = np.stack([inner, after, after + _SPOKES, inner, after + _SPOKES, inner + _SPOKES], 1).reshape(-1, 3)
    return Mesh(points, np.repeat(rgb.round().astype(np.uint8), _SPOKES, axis=0), triangles)


def _sky(horizon: Float[Array, "3"], zenith: Float[Array, "3"]) -> Mesh:
    share = np.clip(np.sin(_RING_ELEVATIONS), 0, 1)[:, None] ** 0.6
    rgb = (1 - share) * horizon + share * zenith
    return _rings(list(100 * np.sin(_RING_ELEVATIONS)), list(100 * np.cos(_RING_ELEVATIONS)), rgb)


def _terrain(near: Float[Array, "3"], horizon: Float[Array, "3"]) -> Mesh:
    haze = np.array([0.0, 0.0, 0.1, 0.35, 1.0])[:, None]
    return _rings([0.0] * len(_RING_RADII_M), list(_RING_RADII_M), (1 - haze) * near + haze * horizon)
