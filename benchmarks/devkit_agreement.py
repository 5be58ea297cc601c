"""How far every value of our tables is from what the devkit answers: a table of checks, of all keyframes.

``python benchmarks/devkit_agreement.py [--dataroot ../shared/data/nuscenes-mini] [--version v1.0-mini]`` prints it as
markdown. The expected side is calls of the devkit alone (``tests/devkit_values.py``, ``tests/devkit_map.py``).
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from dima_pipeline.datasets import SceneTables

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from devkit_table import Comparison, summarise, table

MINI = Path(__file__).parents[2] / "shared" / "data" / "nuscenes-mini"


def main() -> None:
    """Parse the arguments and compare; fails where a check does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataroot", type=Path, default=MINI)
    parser.add_argument("--version", default="v1.0-mini")
    given = parser.parse_args()
    comparison, counts = Comparison(given.dataroot, given.version), Counter[str]()

    def report(tables: SceneTables) -> None:
        counts.update(scenes=1, keyframes=len(tables.samples), boxes=len(tables.agents))
        print(f"{tables.scenes['name'].iloc[0]}: {len(tables.samples)} keyframes", file=sys.stderr, flush=True)

    lines = summarise(comparison.root(report)).values()
    print(table(lines))
    num_left_out = comparison.dataset.unmapped.total()
    counts.update(boxes=num_left_out)
    print(f"\n{', '.join(f'{number:,} {what}' for what, number in counts.items())}")
    print(f"{num_left_out:,} of the boxes have no detection class and are left out")
    failed = [line.check for line in lines if not line.is_kept()]
    if failed:
        sys.exit(f"beyond the limit: {', '.join(failed)}")


if __name__ == "__main__":
    main()
