"""Precision and recall of every slice, against what the simulator knows of generated scenes without pictures.

    python benchmarks/slices.py                                    val towns, seeds 201 and 202, 22 scenes of each
    python benchmarks/slices.py --split train --seeds 101 103 --scenes 32
    python benchmarks/slices.py --only short_ttc overtaking

What is true is told by ``tests/slice_truth.py`` from poses at 20 Hz, lanes and who stands or walks, whether an event
was planted or came about. Right is what lies within one keyframe; an event is a row of consecutive keyframes. The bar
is 0.95 for each of the four shares; the status is 1 where one is missed. ``-`` is where nothing happened.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from slice_worlds import CASES, members_and_truth, score, world

BAR = 0.95


def main() -> int:
    """Print a line a slice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--seeds", type=int, nargs="+", default=[201, 202])
    parser.add_argument("--scenes", type=int, default=22, help="of each seed")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    asked = parser.parse_args()
    found: dict[str, list] = {case: [] for case in asked.only}
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory() as folder:
            scenes = world(Path(folder) / "root", asked.split, seed, asked.scenes)
        for case in asked.only:
            found[case] += members_and_truth(scenes, case)
    print(f"{'slice':20}{'keyframes':>12}{'precision':>11}{'recall':>8}{'events':>10}{'precision':>11}{'recall':>8}")
    return max([_line(case, found[case]) for case in asked.only])


def _line(case: str, pairs: list) -> int:
    result = score(pairs)
    shares = [result.precision, result.recall, result.event_precision, result.event_recall]
    shown = ["-" if math.isnan(share) else f"{share:.3f}" for share in shares]
    counts = f"{result.true}/{result.found}", f"{result.true_events}/{result.found_events}"
    print(f"{case:20}{counts[0]:>12}{shown[0]:>11}{shown[1]:>8}{counts[1]:>10}{shown[2]:>11}{shown[3]:>8}", flush=True)
    return int(any(share < BAR for share in shares))


if __name__ == "__main__":
    sys.exit(main())
