"""Builds towns from a seed: which there are, where they lie, and their parts put together."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from shapely.geometry import Polygon
from shapely.ops import unary_union

from dima_pipeline.world.grid import draw_grid
from dima_pipeline.world.houses import build_buildings, build_carparks
from dima_pipeline.world.lane_graph import build_junctions, build_lanes, build_roads
from dima_pipeline.world.right_of_way import build_crossings, build_signals, build_stop_lines
from dima_pipeline.world.roads import WALKWAY_M, Placement, Town, strip


@dataclass(frozen=True)
class TownSite:
    """Where a town lies: canvas, middle (m), split and the class of its ring road."""

    name: str
    location: str
    split: str
    x_m: float
    y_m: float
    ring: str

    @property
    def is_mirrored(self) -> bool:
        """Singapore keeps left."""
        return self.location.startswith("singapore")


SITES = (
    TownSite("harbour", "boston-seaport", "train", 600.0, 600.0, "avenue"),
    TownSite("north-end", "boston-seaport", "train", 600.0, 1450.0, "street"),
    TownSite("science-park", "singapore-onenorth", "train", 790.0, 1000.0, "avenue"),
    TownSite("queens-close", "singapore-queenstown", "train", 1600.0, 1800.0, "street"),
    TownSite("fort-point", "boston-seaport", "val", 2200.0, 1000.0, "street"),
    TownSite("holland", "singapore-hollandvillage", "val", 1400.0, 1400.0, "avenue"),
    TownSite("leather", "boston-seaport", "test", 1400.0, 1000.0, "avenue"),
    TownSite("commonwealth", "singapore-queenstown", "test", 2450.0, 2800.0, "street"),
)
CANVAS_EDGES = {
    "boston-seaport": (2979.5, 2118.1),
    "singapore-onenorth": (1585.6, 2025.0),
    "singapore-hollandvillage": (2808.3, 2922.9),
    "singapore-queenstown": (3228.6, 3687.1),
}
"""Width and height (m) of the four canvases the devkit knows."""


@lru_cache(maxsize=32)
def build_town(site: TownSite, seed: int) -> Town:
    """The town of a site; the same seed gives the same town."""
    rng = np.random.default_rng([seed, SITES.index(site) if site in SITES else len(SITES)])
    grid = draw_grid(site.ring, rng)
    placement = Placement(site.x_m, site.y_m, float(rng.uniform(-np.pi, np.pi)), site.is_mirrored)
    roads = build_roads(grid, rng)
    lanes = build_lanes(grid, roads)
    junctions = build_junctions(grid, roads, lanes)
    surfaces = [Polygon(strip(r.curve, r.road_class.half_width_m, -r.road_class.half_width_m)) for r in roads.values()]
    surfaces += [Polygon(junction.polygon, junction.holes) for junction in junctions.values()]
    drivable = unary_union([surface.buffer(0.02, join_style="mitre") for surface in surfaces])
    carparks = build_carparks(roads, drivable, rng)
    return Town(
        name=site.name,
        location=site.location,
        split=site.split,
        placement=placement,
        roads=roads,
        junctions=junctions,
        lanes=lanes,
        crossings=build_crossings(grid, roads, rng),
        stop_lines=build_stop_lines(grid, roads),
        carparks=carparks,
        buildings=build_buildings(roads, junctions, drivable, carparks, rng),
        drivable=drivable,
        walkway=drivable.buffer(WALKWAY_M, quad_segs=4).difference(drivable),
        signals=build_signals(grid, roads, lanes),
    )


def build_towns(seed: int) -> dict[str, Town]:
    """All towns of a world by name."""
    return {site.name: build_town(site, seed) for site in SITES}
