"""Panda3D's software rasteriser behind a few functions: a buffer in memory, a pinhole lens, meshes as nodes."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from panda3d import core

from dima_pipeline.world.render_types import Mesh

Array = np.ndarray

NEAR_M: Final = 0.5
FAR_M: Final = 4000.0
TILE_M: Final = 60.0
_SETTINGS: Final = (
    "notify-level error",
    "audio-library-name null",
    "want-pstats #f",
    "garbage-collect-states #t",
    # The cache takes transforms that differ by less than a millionth for one and hands out the one it met first: what
    # a process drew before would move edges by a pixel.
    "transform-cache #f",
)


def offscreen(width: int, height: int) -> tuple[Any, Any, Any]:
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


def scene_root(name: str) -> Any:
    """A root node that draws colours of vertices."""
    root = core.NodePath(name)
    root.set_attrib(core.ColorAttrib.make_vertex())
    return root


def camera_node() -> tuple[Any, Any]:
    """A camera and its lens."""
    lens = core.PerspectiveLens()
    lens.set_near_far(NEAR_M, FAR_M)
    return core.NodePath(core.Camera("camera", lens)), lens


def unshaded(root: Any) -> None:
    """Draw each triangle in the colour of one corner: colours that encode ids are not blended."""
    root.set_attrib(core.ShadeModelAttrib.make(core.ShadeModelAttrib.M_flat))


def set_pinhole(lens: Any, intrinsics: Float[Array, "3 3"], size: tuple[int, int], samples: int) -> None:
    """Film of the image's size in units of the focal lengths, shifted to the principal point.

    The rasteriser maps the film to half a sample less than its buffer; the film is cut by as much. It also fills
    every sample that a polygon touches, which makes outlines half a sample wider on average, evenly on all sides.
    """
    width, height = (pixels - 0.5 / samples for pixels in size)
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    lens.set_film_size(width / fx, height / fy)
    lens.set_focal_length(1.0)
    lens.set_film_offset((width / 2 - cx) / fx, (cy - height / 2) / fy)


def panda_matrix(matrix: Float[Array, "4 4"]) -> Any:
    """Panda3D multiplies rows from the left."""
    return core.LMatrix4f(*matrix.T.ravel().tolist())


def replace(node: Any, meshes: list[Mesh], origin: Float[Array, "3"], background: int | None = None) -> None:
    """Give a node new geometry; ``background`` paints it in that order, without depth."""
    node.node().remove_all_children()
    for mesh in meshes:
        if len(mesh.triangles):
            node.attach_new_node(mesh_node(mesh, origin))
    if background is not None:
        _as_background(node, background)


def mesh_node(mesh: Mesh, origin: Float[Array, "3"], alpha: int = 255) -> Any:
    """A node that draws a mesh relative to an origin; ``alpha`` is written as it is."""
    records = np.empty(len(mesh.points), [("point", np.float32, 3), ("rgba", np.uint8, 4)])
    records["point"] = mesh.points - origin
    records["rgba"][:, :3] = mesh.rgb
    records["rgba"][:, 3] = alpha
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
    node = core.GeomNode("mesh")
    node.add_geom(geom)
    return node


def tiles(mesh: Mesh, size_m: float = TILE_M) -> dict[tuple[int, int], Mesh]:
    """The same triangles by square tile of the world, so that those out of sight are skipped."""
    if not len(mesh.triangles):
        return {}
    cells, owner = np.unique(
        np.floor(mesh.points[mesh.triangles, :2].mean(1) / size_m).astype(np.int64), axis=0, return_inverse=True
    )
    pieces = {}
    for tile, (column, row) in enumerate(cells.tolist()):
        used, triangles = np.unique(mesh.triangles[owner.ravel() == tile], return_inverse=True)
        pieces[column, row] = Mesh(mesh.points[used], mesh.rgb[used], triangles.reshape(-1, 3))
    return pieces


def paint_layers(node: Any, layers: Sequence[Mesh], origin: Float[Array, "3"], first_sort: int) -> None:
    """Paint meshes one over the other, whatever their depth.

    What lies in one tile hangs at one node: most of a town is out of sight and is skipped at once.
    """
    node.node().remove_all_children()
    parents: dict[tuple[int, int], Any] = {}
    for sort, layer in enumerate(layers, start=first_sort):
        for cell, piece in tiles(layer).items():
            parent = parents.get(cell) or parents.setdefault(cell, node.attach_new_node("tile"))
            _as_background(parent.attach_new_node(mesh_node(piece, origin)), sort)


def _as_background(node: Any, sort: int) -> None:
    """Painted in an order, without depth, from both sides."""
    node.set_bin("background", sort)
    node.set_depth_test(False)
    node.set_depth_write(False)
    node.set_two_sided(True)


def place(nodes: Sequence[Any], offset: Float[Array, "3"]) -> None:
    """Move nodes to a place relative to the camera."""
    for node in nodes:
        node.set_pos(*map(float, offset))
