"""Whether question-answer pairs are true, judged by a grammar and definitions of its own from the tables alone.

    python benchmarks/annotation.py --scenes 200 --seed 11 --write DIR
    python benchmarks/independent_checker.py DIR --num-pairs 5000 --seed 0 [--planted]

Reads nothing of the code that writes the pairs; the words that no table defines stand in ``independent/words.py``.
"""

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

from independent.check import Checked, check, pairs_of
from independent.corruption import catch_rates, share_denied
from independent.verdict import FALSE, TRUE, UNDECIDABLE
from independent.world import World

MIN_AGREEMENT, MIN_DECIDED = 0.995, 0.99


def tally(checked: list[Checked]) -> tuple[float, float]:
    """Agreement among the decided pairs and the share of decided ones; 0 for no pairs."""
    kinds = Counter(one.verdict.kind for one in checked)
    decided = kinds[TRUE] + kinds[FALSE]
    return kinds[TRUE] / max(decided, 1), decided / max(len(checked), 1)


def print_line(name: str, checked: list[Checked]) -> None:
    """One line of the table: checked, agreed, undecidable and both rates."""
    kinds = Counter(one.verdict.kind for one in checked)
    agreement, decided = tally(checked)
    counts = f"{len(checked):7}{kinds[TRUE]:7}{kinds[FALSE]:7}{kinds[UNDECIDABLE]:7}"
    print(f"{name:42}{counts}{agreement:9.2%}{decided:9.2%}")


def print_rates(checked: list[Checked]) -> None:
    """The table by category and shape of question."""
    print(f"{'':42}{'checked':>7}{'agreed':>7}{'denied':>7}{'open':>7}{'rate':>9}{'decided':>9}")
    groups: dict[str, dict[str, list[Checked]]] = defaultdict(lambda: defaultdict(list))
    for one in checked:
        groups[one.pair.category][one.shape].append(one)
    for category in sorted(groups):
        print_line(category, [one for of_shape in groups[category].values() for one in of_shape])
        for shape in sorted(groups[category]):
            print_line(f"    {shape}", groups[category][shape])
    print_line("all", checked)


def print_examples(checked: list[Checked], kind: str, num: int) -> None:
    """Up to ``num`` pairs of each shape with a verdict of a kind."""
    shown: Counter[str] = Counter()
    for one in checked:
        if one.verdict.kind == kind and shown[one.shape] < num:
            shown[one.shape] += 1
            pair = one.pair
            print(f"{kind} [{one.shape}] {pair.sample_token}: {pair.question} | {pair.answer} | {one.verdict.reason}")


def print_planted(world: World, pairs: list[Checked], seed: int) -> None:
    """What share of planted faults is denied, by kind of fault, and the shapes where it is lowest."""
    verdicts = catch_rates(world, pairs, seed)
    for name in sorted({name for name, _ in verdicts}):
        shapes = {shape: found for (other, shape), found in verdicts.items() if other == name}
        everything = [verdict for found in shapes.values() for verdict in found]
        worst = sorted((share_denied(found), shape, len(found)) for shape, found in shapes.items())[:4]
        lowest = ", ".join(f"{shape} {share:.0%} of {num}" for share, shape, num in worst)
        print(f"planted: {name:28} {share_denied(everything):7.2%} of {len(everything):5} denied; lowest: {lowest}")


def main() -> int:
    """Check, print, and return 1 where too few agree or too few are decided."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, help="folder of vqa_pairs.parquet and the tables it speaks of")
    parser.add_argument("--num-pairs", type=int, default=5000, help="drawn at random; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=3, help="of each shape and verdict")
    parser.add_argument("--planted", action="store_true", help="also plant faults and count those denied")
    arguments = parser.parse_args()
    try:
        world = World(arguments.tables)
    except ValueError as error:
        parser.error(str(error))
    checked = [check(world, pair) for pair in pairs_of(world, arguments.num_pairs, arguments.seed)]
    for kind in (UNDECIDABLE, FALSE):
        print_examples(checked, kind, arguments.examples)
    print_rates(checked)
    if arguments.planted:
        print_planted(world, [one for one in checked if one.verdict.kind == TRUE], arguments.seed)
    agreement, decided = tally(checked)
    return int(agreement < MIN_AGREEMENT or decided < MIN_DECIDED)


if __name__ == "__main__":
    sys.exit(main())
