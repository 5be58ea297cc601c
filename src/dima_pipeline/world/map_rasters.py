"""Towns as pictures of a whole canvas: the semantic prior of nuScenes 1.0 and a basemap, at a metre a pixel."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from shapely.geometry import MultiPolygon, Polygon

from dima_pipeline.world.ground import polygons, ring
from dima_pipeline.world.roads import Town

RASTER_M_PER_PIXEL = 1.0
"""The devkit's own rasters have 0.1 m a pixel: a hundred times as many."""
PRIOR_FILES = {
    "singapore-onenorth": "53992ee3023e5494b90c316c183be829",
    "singapore-hollandvillage": "37819e65e09e5547b8a3ceaefba56bb2",
    "singapore-queenstown": "93406b464a165eaba6d9de76ca09f5da",
    "boston-seaport": "36092f0b03a857c6a3403e25b4b7aab3",
}
"""Names that the devkit looks for semantic priors under."""


def map_file(location: str) -> str:
    """Path of a location's semantic prior below the root."""
    return f"maps/{PRIOR_FILES[location]}.png"


def write_rasters(directory: Path, location: str, edge_m: tuple[float, float], towns: list[Town]) -> None:
    """Write the semantic prior (drivable area) and the basemap of a location."""
    prior = _Canvas(edge_m)
    basemap = _Canvas(edge_m)
    for town in towns:
        prior.paint(town, town.drivable, 255)
        for area, grey in ((town.walkway, 70), (town.drivable, 130), *((Polygon(lot), 110) for lot in town.carparks)):
            basemap.paint(town, area, grey)
        for bar in [*(one.polygon for one in town.crossings), *(one.polygon for one in town.stop_lines)]:
            basemap.paint(town, Polygon(bar), 220)
    (directory / "maps" / "basemap").mkdir(parents=True, exist_ok=True)
    prior.image.save(directory / map_file(location))
    basemap.image.save(directory / "maps" / "basemap" / f"{location}.png")


class _Canvas:
    """A black grey-scale picture, north up, of ``edge_m`` = width, height."""

    def __init__(self, edge_m: tuple[float, float]) -> None:
        width, self.height = (int(np.ceil(edge / RASTER_M_PER_PIXEL)) for edge in edge_m)
        self.image = Image.new("L", (width, self.height), 0)

    def paint(self, town: Town, shape: Polygon | MultiPolygon, grey: int) -> None:
        """Fill an area of a town; its holes are black."""
        draw = ImageDraw.Draw(self.image)
        for part in polygons(shape):
            for edge, color in [(part.exterior, grey), *[(hole, 0) for hole in part.interiors]]:
                points = town.placement.points(ring(edge.coords)) / RASTER_M_PER_PIXEL
                draw.polygon([(float(x), self.height - float(y)) for x, y in points], fill=color)
