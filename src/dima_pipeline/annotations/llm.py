"""A language model writes captions, foresight, reasons and rephrasings from the numbers of a keyframe.

As DiMA (section 4) does with Llama-3-70B for frames that no person has answered: in-context examples, boxes, speeds and
paths in, pairs out. None is taken on trust: each goes through the checks against the tables like all others.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from dima_pipeline.annotations import ANNOTATORS, AnnotatorSpec
from dima_pipeline.annotations._llm_answer import CATEGORIES, Item, parse
from dima_pipeline.annotations._llm_prompt import ASKED, make_prompt
from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.language import REJECTED, Prompt, Reply
from dima_pipeline.language.asking import Asker, Prices
from dima_pipeline.language.generators import GENERATORS, GeneratorSpec
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.storage.keyframes import Keyframe, keyframes

log = logging.getLogger(__name__)


@config_dataclass
class Config:
    """Which model, what it is asked, and where its answers are kept."""

    generator: GeneratorSpec
    """``{name: endpoint, ...}`` or ``{name: local_model, ...}``."""
    cache_dir: str = Field(min_length=1)
    """Below ``data/<environment>/work``: what is in it is never asked again."""
    num_captions: int = Field(1, ge=0)
    num_foresight: int = Field(2, ge=0)
    num_reasons: int = Field(1, ge=0)
    num_rephrasings: int = Field(4, ge=0)
    num_objects: int = Field(12, ge=0)
    """Told of a keyframe, the nearest first."""
    examples: AnnotatorSpec = Field(
        default_factory=lambda: ANNOTATORS.parse({"name": "rules", "is_tagged": False}), validate_default=True
    )
    """Who answers the example keyframes, and writes the pairs to rephrase: rules, or imported answers of people."""
    num_examples: int = Field(1, ge=0)
    """Other keyframes of the scene that are shown with their pairs."""
    num_example_pairs: int = Field(6, ge=1)
    is_filling: bool = False
    """Ask only about keyframes that ``examples`` says nothing about, as DiMA does where people have answered some."""
    seed: int = 0
    """Of what is shown; the answers of a model are paid for, so they do not depend on where in a list it stands."""
    prices: Prices = Field(default_factory=Prices)


class LlmAnnotator:
    """The annotator; see the module."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.asker = Asker(GENERATORS.build(config.generator), Path(config.cache_dir), config.prices)
        self.source = f"llm:{self.asker.generator.name}"
        self._examples = ANNOTATORS.build(config.examples)
        self._dropped: Counter[str] = Counter()
        self._num_pairs = self._num_flagged = self._num_cut = 0

    def pairs(self, scene: Any, rng: np.random.Generator) -> Iterator[VqaPair]:
        """Pairs of every keyframe, and what they cost in ``usage.json``. ``rng`` has no say (``Config.seed``).

        Raises ``ValueError`` where the model cannot be reached; what it had answered is kept.
        """
        frames = list(keyframes(scene))
        rng = self._generator(str(scene.scenes.scene_token.iloc[0]))
        examples = list(self._examples.pairs(scene, rng))
        answered = {pair.sample_token for pair in examples} if self.config.is_filling else set()
        shown = _shown(examples, rng)
        asked = [frame for frame in frames if frame.sample_token not in answered and self._wanted(frame, shown)]
        replies = self.asker.ask([self._prompt(frame, frames, shown) for frame in asked])
        for frame, reply in zip(asked, replies, strict=True):
            yield from self._keyframe_pairs(frame, reply, self._rephrased(frame, shown))
        self._report()

    def _generator(self, scene_token: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.config.seed} {scene_token}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))

    def _wanted(self, frame: Keyframe, shown: dict[str, list[VqaPair]]) -> dict[str, int]:
        config, rephrased = self.config, self._rephrased(frame, shown)
        # What comes next is only told, and asked about, where the driven path is known.
        ahead = (config.num_foresight, config.num_reasons) if frame.has_future else (0, 0)
        numbers = zip(ASKED, (config.num_captions, *ahead, len(rephrased)), strict=True)
        return {name: number for name, number in numbers if number}

    def _prompt(self, frame: Keyframe, frames: list[Keyframe], shown: dict[str, list[VqaPair]]) -> Prompt:
        config = self.config
        others = [other for other in frames if other is not frame and shown.get(other.sample_token)]
        first = frames.index(frame) + len(frames) // 2  # Far away in time: what is shown is not what is asked about.
        chosen = [others[(first + at) % len(others)] for at in range(min(config.num_examples, len(others)))]
        examples = [
            (other, self._rows(other), shown[other.sample_token][: config.num_example_pairs]) for other in chosen
        ]
        wanted = self._wanted(frame, shown)
        return make_prompt(frame, self._rows(frame), self._rephrased(frame, shown), examples, wanted)

    def _rephrased(self, frame: Keyframe, shown: dict[str, list[VqaPair]]) -> list[VqaPair]:
        return shown.get(frame.sample_token, [])[: self.config.num_rephrasings]

    def _rows(self, frame: Keyframe) -> list[int]:
        seen = [int(row) for row in np.flatnonzero(frame.is_visible)]
        seen.sort(key=lambda row: (float(np.hypot(*frame.box[row, :2])), frame.instances[row]))
        return seen[: self.config.num_objects]

    def _keyframe_pairs(self, frame: Keyframe, reply: Reply, rephrased: list[VqaPair]) -> Iterator[VqaPair]:
        if reply.finish == REJECTED:
            return
        config = self.config
        most = 2 * (config.num_captions + config.num_foresight + config.num_reasons + config.num_rephrasings)
        parsed = parse(reply.text, max_items=most)
        self._dropped.update(parsed.dropped)
        self._num_cut += reply.finish == "length"
        originals = {f"q{at}": pair for at, pair in enumerate(rephrased, 1)}
        instances = {f"o{at}": frame.instances[row] for at, row in enumerate(self._rows(frame), 1)}
        for item in parsed.items:
            problem = _misses(item, originals)
            if problem:
                self._dropped[problem] += 1
                continue
            pair = self._pair(frame, item, originals, instances)
            self._num_pairs += 1
            self._num_flagged += pair.reason is not None
            yield pair

    def _pair(self, frame: Keyframe, item: Item, originals: dict[str, VqaPair], instances: dict[str, str]) -> VqaPair:
        said = {"question": item.question, "answer": item.answer, "source": self.source}
        if item.of is not None:
            original = originals[item.of]
            return VqaPair(frame.sample_token, original.category, objects=original.objects, **said)
        unknown = [name for name in item.objects if name not in instances]
        reason = f"objects: {len(unknown)} named that were not given" if unknown else None
        objects = tuple(instances[name] for name in item.objects if name in instances)
        assert item.category is not None
        return VqaPair(frame.sample_token, item.category, objects=objects, reason=reason, **said)

    def _report(self) -> None:
        facts: dict[str, Any] = {"pairs": self._num_pairs, "flagged": self._num_flagged, "cut_replies": self._num_cut}
        facts |= {"dropped": dict(self._dropped)}
        usage = self.asker.write_usage(facts)
        log.info("%s: %s", self.source, usage)


def _shown(examples: list[VqaPair], rng: np.random.Generator) -> dict[str, list[VqaPair]]:
    """Example pairs by keyframe: those in plain words (no camera tags), in an order that mixes what they ask."""
    found: dict[str, list[VqaPair]] = {}
    for pair in examples:
        if pair.category in CATEGORIES and "<" not in f"{pair.question}{pair.answer}":
            found.setdefault(pair.sample_token, []).append(pair)
    return {token: [pairs[at] for at in rng.permutation(len(pairs))] for token, pairs in found.items()}


def _misses(item: Item, originals: dict[str, VqaPair]) -> str | None:
    """Why a rephrasing is none."""
    if item.of is None:
        return None
    if item.of not in originals:
        return "rephrases what was not given"
    original = originals[item.of]
    is_same = (item.question, item.answer) == (original.question, original.answer)
    return "rephrases nothing" if is_same else None


build = LlmAnnotator
