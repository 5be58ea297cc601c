"""The table of checks: how far the tables of a root are from what the devkit answers, check by check."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nuscenes.utils.splits import create_splits_scenes

from devkit_map import DevkitMap, compare_map
from devkit_values import EXACT, VELOCITY, Compared, Devkit, category_to_detection_name, compare_scene
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.splits import configured_splits
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

LIMIT = 1e-6
VELOCITY_LIMIT_MPS = 1e-5
"""The devkit's own rounding (``devkit_values.rounding``)."""


@dataclass
class Agreement:
    """A line of the table of checks."""

    check: str
    unit: str
    num_values: int = 0
    max_deviation: float = 0.0
    columns: frozenset[str] = frozenset()

    def add(self, found: Compared) -> None:
        """Count values in."""
        assert found.unit == self.unit
        self.num_values += len(found)
        both = (self.max_deviation, found.deviation())
        self.max_deviation = sum(both) if self.unit == EXACT else max(both)
        self.columns |= set(found.columns.split())

    def is_kept(self) -> bool:
        """Whether all values agree within the limit."""
        limit = 0.0 if self.unit == EXACT else VELOCITY_LIMIT_MPS if self.check == VELOCITY else LIMIT
        return self.max_deviation <= limit


def summarise(compared: Iterable[Compared]) -> dict[str, Agreement]:
    """The checks in order, over all scenes."""
    lines: dict[str, Agreement] = {}
    for found in compared:
        lines.setdefault(found.check, Agreement(found.check, found.unit)).add(found)
    return lines


class Comparison:
    """A root, read by the devkit and by us."""

    def __init__(self, dataroot: Path, version: str) -> None:
        self.config = Config(version=version)
        self.devkit = Devkit(dataroot, version)
        self.dataset = NuScenesDataset(self.config, dataroot=dataroot)
        self._towns: dict[str, DevkitMap] = {}

    def scene(self, name: str, tables: SceneTables) -> Iterator[Compared]:
        """Every value of the tables of a scene."""
        yield from compare_scene(self.devkit, name, tables)
        location = self.devkit.nusc.get("log", self.devkit.scene(name)["log_token"])["location"]
        yield from compare_map(self.devkit, self.town(location), name, tables)

    def town(self, location: str) -> DevkitMap:
        """The map of a location."""
        if location not in self._towns:
            self._towns[location] = DevkitMap(self.devkit.dataroot, location)
        return self._towns[location]

    def root(self, report: Callable[[SceneTables], None] = lambda tables: None) -> Iterator[Compared]:
        """Every value of all scenes; ``report`` is called with the tables of each."""
        for name in self.dataset.scene_names():
            tables = self.dataset.tables(name)
            report(tables)
            yield from self.scene(name, tables)
        yield from self.splits()
        names = [row["category_name"] for row in self.devkit.nusc.sample_annotation]
        theirs = Counter(name for name in names if category_to_detection_name(name) is None)
        ours = sorted(self.dataset.unmapped.items())
        yield Compared("boxes without a detection class, by category", "", EXACT, ours, sorted(theirs.items()))

    def splits(self) -> Iterator[Compared]:
        """The official split of each scene."""
        names = [row["name"] for row in self.devkit.nusc.scene]
        lists = create_splits_scenes()
        prefix = "mini_" if self.config.version.endswith("mini") else ""
        theirs = ["train" if name in lists[f"{prefix}train"] else "val" for name in names]
        assert all(name in lists[f"{prefix}{split}"] for name, split in zip(names, theirs, strict=True))
        ours = self.split_names()
        yield Compared("official splits", "scenes.split", EXACT, [ours[name] for name in names], theirs)

    def split_names(self) -> dict[str, str]:
        """The split that ingestion gives each scene."""
        names = self.dataset.scene_names()
        return configured_splits(IngestionConfig(dataset=self.config), names, names)


def table(lines: Iterable[Agreement]) -> str:
    """As markdown."""
    rows = [f"| {line.check} | {line.num_values:,} | {shown(line)} |" for line in lines]
    return "\n".join(["| check | values | largest deviation |", "| --- | ---: | ---: |", *rows])


def shown(line: Agreement) -> str:
    """The deviation with its unit."""
    if line.num_values == 0:
        return "none there"
    if line.unit == EXACT:
        return "equal" if line.max_deviation == 0 else f"{line.max_deviation:,.0f} differ"
    number = f"{line.max_deviation:.1e}" if line.max_deviation else "0"
    return f"{number} {line.unit}" if line.unit != "1" else number
