"""Camera images of a town and its traffic, by Panda3D's software rasteriser: no display, no GPU, no files.

The camera is a true pinhole: any intrinsics, any pose. World coordinates may be kilometres from the origin, since
everything is placed relative to the camera in double precision. Colour is drawn at two or three times the size and
averaged; a second pass draws exact instance ids.
"""

from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int32, UInt8, UInt32

from dima_pipeline.geometry import invert_rigid
from dima_pipeline.world.render_boxes import box_mesh, shadow_mesh
from dima_pipeline.world.render_engine import (
    camera_node,
    mesh_node,
    offscreen,
    paint_layers,
    panda_matrix,
    place,
    replace,
    scene_root,
    set_pinhole,
    tiles,
    unshaded,
)
from dima_pipeline.world.render_ground import ground_layers
from dima_pipeline.world.render_props import signal_mesh, tree_mesh
from dima_pipeline.world.render_sky import fogged, ground_distances, sky, terrain
from dima_pipeline.world.render_types import (
    Backdrop,
    GroundArea,
    GroundLine,
    Mesh,
    RenderBox,
    RenderSignal,
    RenderTree,
)

__all__ = ["Backdrop", "GroundArea", "GroundLine", "RenderBox", "RenderSignal", "RenderTree", "Renderer"]

Array = np.ndarray

_FINE_PIXELS: Final = 320 * 180
"""Up to this size nine samples make a pixel, above four: a lane line far away is thinner than a pixel."""
_SHADOW_SORT: Final = 1000
"""After all layers of the ground."""
_PROP: Final = 254
"""Alpha of what is in the id pass and has no id; boxes have 255, the ground 0."""
_MAX_HOUSES_KEPT: Final = 1024
_PANDA_FROM_CAMERA: Final = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Camera: x right, y down, z forward. Panda3D: x right, y forward, z up."""


class Renderer:
    """Draws ``width`` x ``height`` images; ``set_ground`` and ``set_trees`` once a scene, the rest once a frame.

    Several may be made one after the other or side by side, in any process. The pictures depend on the arguments
    alone. Reuse a renderer where you can: Panda3D keeps the frame buffer of a closed one (8 bytes a sample, 4 MB at
    320 x 180) until the process ends.
    """

    def __init__(self, width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise ValueError(f"an image has at least one pixel a side, got {width} x {height}")
        self.width, self.height = width, height
        self._samples = 3 if width * height <= _FINE_PIXELS else 2
        self._engine, self._buffer, self._texture = offscreen(width * self._samples, height * self._samples)
        self._camera, self._lens = camera_node()
        self._buffer.make_display_region().set_camera(self._camera)
        self._colors, self._ids = scene_root("colors"), scene_root("ids")
        unshaded(self._ids)
        self._sky, self._terrain, self._ground, self._shadows = (
            self._colors.attach_new_node(name) for name in ("sky", "terrain", "ground", "shadows")
        )
        self._solid = {
            name: _Pair(self._colors.attach_new_node(name), self._ids.attach_new_node(name))
            for name in ("boxes", "houses", "signals", "trees")
        }
        self._houses: dict[Hashable, tuple[Any, Any]] = {}
        self._origins = dict.fromkeys(["ground", *self._solid], np.zeros(3))
        self._places: dict[str, Float[Array, "N 3"]] = {}
        self._codes: dict[str, UInt32[Array, "N"]] = {}
        self._backdrop = Backdrop()
        self.set_ground([], [], self._backdrop)

    def set_ground(self, areas: Sequence[GroundArea], lines: Sequence[GroundLine], backdrop: Backdrop) -> None:
        """Replace the ground, the sky and the light; what was set before keeps the light it was set in."""
        self._backdrop = backdrop
        replace(self._sky, [sky(backdrop)], np.zeros(3), 0)
        replace(self._terrain, [terrain(backdrop)], np.zeros(3), 1)
        layers = ground_layers(areas, lines, backdrop)
        self._origins["ground"] = layers[0].points.mean(0) if layers else np.zeros(3)
        paint_layers(self._ground, layers, self._origins["ground"], 2)

    def set_boxes(self, boxes: Sequence[RenderBox]) -> None:
        """Replace the boxes of the frame; houses that were there before cost nothing."""
        origin = np.asarray(boxes[0].center, float) if boxes else np.zeros(3)
        self._origins["boxes"] = self._origins["houses"] = origin
        agents = [box for box in boxes if box.category != "building"]
        mesh, id_colors = box_mesh(agents, self._backdrop)
        self._solid["boxes"].show([mesh], [Mesh(mesh.points, id_colors, mesh.triangles)], origin, 255)
        self._set_houses([box for box in boxes if box.category == "building"], origin)
        replace(self._shadows, [shadow_mesh(boxes, self._backdrop)], origin, _SHADOW_SORT)
        self._places["boxes"] = np.array([box.center for box in boxes], float).reshape(-1, 3)
        self._codes["boxes"] = np.array([box.instance_id for box in boxes], np.uint32) | np.uint32(255 << 24)

    def set_signals(self, signals: Sequence[RenderSignal]) -> None:
        """Replace the traffic lights; to be called when one of them changes."""
        mesh = signal_mesh(signals, self._backdrop)
        self._set_props("signals", [mesh], np.array([signal.center for signal in signals], float).reshape(-1, 3))

    def set_trees(self, trees: Sequence[RenderTree]) -> None:
        """Replace the trees; once a scene, after ``set_ground``."""
        places = np.array([(*tree.center, tree.height / 2) for tree in trees], float).reshape(-1, 3)
        self._set_props("trees", list(tiles(tree_mesh(trees, self._backdrop)).values()), places)

    def render(self, intrinsics: Float[Array, "3 3"], camera_from_world: Float[Array, "4 4"]) -> UInt8[Array, "H W 3"]:
        """Red, green, blue of the view; pixel centres lie at integer + 0.5, as in ``geometry.project``."""
        samples = self._samples
        pixels = self._draw(self._colors, intrinsics, camera_from_world)
        lines = pixels.reshape(self.height, samples, self.width * samples, 4)
        rows = lines[:, 0].astype(np.uint16)
        for line in range(1, samples):
            rows += lines[:, line]
        # the four 16-bit channels of a sample are summed as one 64-bit number: none can overflow into the next
        packed = rows.view(np.uint64)[..., 0]
        total = sum(packed[:, column::samples] for column in range(1, samples)) + packed[:, ::samples]
        summed = np.ascontiguousarray(total)[..., None].view(np.uint16)[..., 2::-1]
        picture = ((summed + samples**2 // 2) // samples**2).astype(np.uint8)
        if self._backdrop.weather == "fog":
            return fogged(picture, self._distances(intrinsics, camera_from_world), self._backdrop)
        return picture

    def render_instances(
        self, intrinsics: Float[Array, "3 3"], camera_from_world: Float[Array, "4 4"]
    ) -> Int32[Array, "H W"]:
        """Instance id of the nearest box at each pixel centre; 0 where there is none or something else hides it."""
        codes = self._draw_codes(intrinsics, camera_from_world)
        return np.where(codes >> 24 == 255, codes & 0xFFFFFF, 0).astype(np.int32)

    def close(self) -> None:
        """Free the buffers; the renderer cannot draw afterwards."""
        self._engine.remove_all_windows()
        self._houses.clear()
        for root in (self._colors, self._ids):
            root.node().remove_all_children()

    def _set_houses(self, houses: Sequence[RenderBox], origin: Float[Array, "3"]) -> None:
        """One node a house, so that those out of sight are skipped; a house is made once and kept."""
        if len(self._houses) > _MAX_HOUSES_KEPT:
            self._houses.clear()
        pair = self._solid["houses"]
        pair.clear()
        for house in houses:
            center = np.asarray(house.center, float)
            key = (center.tobytes(), house.yaw, house.size, house.color, house.instance_id, self._backdrop)
            if key not in self._houses:
                mesh, id_colors = box_mesh([house], self._backdrop)
                coded = Mesh(mesh.points, id_colors, mesh.triangles)
                self._houses[key] = mesh_node(mesh, center), mesh_node(coded, center)
            for parent, node in zip((pair.color, pair.code), self._houses[key], strict=True):
                place([parent.attach_new_node(node)], center - origin)

    def _set_props(self, name: str, meshes: list[Mesh], places: Float[Array, "N 3"]) -> None:
        """Show things without an id: in the id pass they hide boxes, and fog needs to know how far they are."""
        self._origins[name] = places[0] if len(places) else np.zeros(3)
        self._places[name] = places
        first = 1 if name == "signals" else 1 << 16
        self._codes[name] = np.arange(first, first + len(places), dtype=np.uint32) | np.uint32(_PROP << 24)
        meshes = [mesh for mesh in meshes if len(mesh.triangles)]
        coded = [_coded(mesh, places, first) for mesh in meshes]
        self._solid[name].show(meshes, coded, self._origins[name], _PROP)

    def _draw_codes(
        self, intrinsics: Float[Array, "3 3"], camera_from_world: Float[Array, "4 4"]
    ) -> UInt32[Array, "H W"]:
        """Alpha and id of what is seen at each pixel centre: one byte and three, the highest first."""
        # of an even number of samples none lies in the middle of the pixel: the view is moved until one does
        middle = (self._samples - 1) // 2
        shift = 0.5 - (middle + 0.5) / self._samples
        moved = np.asarray(intrinsics, float) - np.array([[0, 0, shift], [0, 0, shift], [0, 0, 0]])
        pixels = self._draw(self._ids, moved, camera_from_world)
        kept = np.ascontiguousarray(pixels[middle :: self._samples, middle :: self._samples])
        return kept.view("<u4")[..., 0].astype(np.uint32)

    def _distances(
        self, intrinsics: Float[Array, "3 3"], camera_from_world: Float[Array, "4 4"]
    ) -> Float[Array, "H W"]:
        """About how far (m) away what each pixel shows is; boxes and trees are as far as their middles."""
        world_from_camera = invert_rigid(np.asarray(camera_from_world, float))
        distances = ground_distances(np.asarray(intrinsics, float), world_from_camera, (self.width, self.height))
        seen = self._draw_codes(intrinsics, camera_from_world)
        codes = np.concatenate([np.zeros(0, np.uint32), *self._codes.values()])
        places = np.concatenate([np.zeros((0, 3)), *self._places.values()])
        order = np.argsort(codes)
        away = np.linalg.norm(places - world_from_camera[:3, 3], axis=1)[order]
        is_thing = seen > 0
        distances[is_thing] = away[np.searchsorted(codes[order], seen[is_thing])]
        return distances

    def _draw(
        self, root: Any, intrinsics: Float[Array, "3 3"], camera_from_world: Float[Array, "4 4"]
    ) -> UInt8[Array, "h w 4"]:
        """One pass at the buffer's size, blue-green-red-alpha, top row first."""
        set_pinhole(self._lens, np.asarray(intrinsics, float), (self.width, self.height), self._samples)
        world_from_camera = invert_rigid(np.asarray(camera_from_world, float))
        position = world_from_camera[:3, 3]
        pose = np.eye(4)
        pose[:3, :3] = world_from_camera[:3, :3]
        self._camera.reparent_to(root)
        self._camera.set_mat(panda_matrix(pose @ _PANDA_FROM_CAMERA.T))
        place([self._terrain], np.array([0, 0, -position[2]]))
        place([self._ground], self._origins["ground"] - position)
        place([self._shadows], self._origins["boxes"] - position)
        for name, pair in self._solid.items():
            place([pair.color, pair.code], self._origins[name] - position)
        self._engine.render_frame()
        shape = (self.height * self._samples, self.width * self._samples, 4)
        return np.frombuffer(self._texture.get_ram_image(), np.uint8).reshape(shape)[::-1]


class _Pair:
    """The same things in the colour pass and in the id pass."""

    def __init__(self, color: Any, code: Any) -> None:
        self.color, self.code = color, code
        for node in (color, code):
            # in the order of the arguments: sorting by state goes by addresses in memory
            node.set_bin("unsorted", 0)

    def clear(self) -> None:
        """Show nothing."""
        self.color.node().remove_all_children()
        self.code.node().remove_all_children()

    def show(self, meshes: list[Mesh], coded: list[Mesh], origin: Float[Array, "3"], alpha: int) -> None:
        """Show these meshes, once in their colours and once in those of their ids."""
        self.clear()
        for mesh, codes in zip(meshes, coded, strict=True):
            if len(mesh.triangles):
                self.color.attach_new_node(mesh_node(mesh, origin))
                self.code.attach_new_node(mesh_node(codes, origin, alpha))


def _coded(mesh: Mesh, places: Float[Array, "N 3"], first: int) -> Mesh:
    """The mesh in the colours that encode the nearest of the places, counted from ``first``."""
    away = np.linalg.norm(mesh.points[:, None, :2] - places[:, :2], axis=-1)
    ids = first + away.argmin(1)
    return Mesh(mesh.points, np.stack([ids >> 16, ids >> 8 & 255, ids & 255], 1).astype(np.uint8), mesh.triangles)
