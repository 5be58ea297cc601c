"""From the names of a foreign checkpoint to a model's own: rules in order, of which the first that fits counts.

A rule is ``from: to``. ``img_backbone.: backbone.`` (ending in a dot) renames a prefix, ``a.weight: b.weight`` one
tensor, ``re:layer(\\d+)[.](.*): 'blocks.\\1.\\2'`` whatever the expression matches whole; ``to: null`` leaves out. What
no rule fits keeps its name.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dima_pipeline.plugins import unknown

REGEX = "re:"
Pairs = Sequence[tuple[str, str | None]]


def resnet_rules(prefix: str = "") -> list[tuple[str, str | None]]:
    """torchvision's names of a ResNet of bottlenecks, below ``prefix``, to those of ``models.resnet`` in a planner."""
    body, own = "backbone.body.", prefix.replace(".", "[.]")
    kinds = (("conv", "convolution"), ("bn", "normalization"))
    rules: list[tuple[str, str | None]] = [
        (f"{prefix}{old}1.", f"{body}embedder.embedder.{new}.") for old, new in kinds
    ]
    for stage in range(1, 5):
        start, there = rf"re:{own}layer{stage}[.](\d+)[.]", rf"{body}encoder.stages.{stage - 1}.layers.\1."
        for place in range(1, 4):
            rules += [(f"{start}{old}{place}[.](.*)", rf"{there}layer.{place - 1}.{new}.\2") for old, new in kinds]
        rules += [
            (f"{start}downsample[.]{place}[.](.*)", rf"{there}shortcut.{new}.\2")
            for place, (_, new) in enumerate(kinds)
        ]
    return rules


BUILT_IN: dict[str, Pairs] = {
    # torchvision's ResNet as the image backbone of a planner; its classifier is of no use.
    "torchvision_resnet": [("fc.", None), *resnet_rules()],
    # What of a published VAD fits the planner's sizes vad_tiny and vad_base number by number: how it sees images.
    "vad_image": [
        *resnet_rules("img_backbone."),
        (r"re:img_neck[.]lateral_convs[.](\d)[.]conv[.](.*)", r"neck.lateral.\1.\2"),
        (r"re:img_neck[.]fpn_convs[.]([0-2])[.]conv[.](.*)", r"neck.out.\1.\2"),
        ("img_neck.fpn_convs.3.conv.", "neck.extra.0."),
        ("", None),
    ],
    # VAD (Jiang et al., ICCV 2023) as its authors publish it: each of its modules below the planner's that does the
    # same, under its old name there.
    "vad": [
        ("img_backbone.", "backbone."),
        ("img_neck.", "backbone.neck."),
        (r"re:pts_bbox_head[.](map_)?code_weights", None),
        ("pts_bbox_head.transformer.encoder.", "bev_encoder."),
        ("pts_bbox_head.bev_embedding.", "bev_encoder.bev_embedding."),
        ("pts_bbox_head.positional_encoding.", "bev_encoder.positional_encoding."),
        ("pts_bbox_head.transformer.decoder.", "agents."),
        ("pts_bbox_head.query_embedding.", "agents.query_embedding."),
        ("pts_bbox_head.transformer.map_decoder.", "map."),
        (r"re:pts_bbox_head[.](map_(?:query|instance|pts)_embedding[.].*)", r"map.\1"),
        ("pts_bbox_head.transformer.map_reference_points.", "map.reference_points."),
        ("pts_bbox_head.transformer.reference_points.", "agents.reference_points."),
        ("pts_bbox_head.transformer.", "bev_encoder."),
        (r"re:pts_bbox_head[.]((?:cls|reg|traj|traj_cls)_branches[.].*)", r"agent_head.\1"),
        (r"re:pts_bbox_head[.](motion_.*|pos_mlp.*|lane_encoder[.].*|agent_fus_mlp[.].*)", r"agent_head.\1"),
        (r"re:pts_bbox_head[.](map_(?:cls|reg)_branches[.].*)", r"map_head.\1"),
        ("pts_bbox_head.ego_fut_decoder.", "trajectory_head."),
        (r"re:pts_bbox_head[.](ego_.*)", r"ego.\1"),
    ],
}


@dataclass(frozen=True)
class Rule:
    """One line of a map; raises ``ValueError`` where it cannot be meant."""

    source: str
    target: str | None

    def __post_init__(self) -> None:
        if self.source.startswith(REGEX):
            try:
                re.compile(self.source.removeprefix(REGEX))
            except re.error as error:
                raise ValueError(f"'{self.source}' is no regular expression: {error}") from None
        elif self.is_prefix and self.target and not self.target.endswith("."):
            raise ValueError(f"'{self.source}' is a prefix, so '{self.target}' has to end in a dot, too, or be empty")
        elif not self.is_prefix and self.target == "":
            raise ValueError(f"'{self.source}' gets an empty name: null leaves it out")

    @property
    def is_prefix(self) -> bool:
        """Whether the rule renames the beginning of names; the empty one begins all."""
        return not self.source.startswith(REGEX) and (self.source == "" or self.source.endswith("."))

    def fits(self, name: str) -> bool:
        """Whether the rule is about ``name``."""
        if self.source.startswith(REGEX):
            return re.fullmatch(self.source.removeprefix(REGEX), name) is not None
        return name.startswith(self.source) if self.is_prefix else name == self.source

    def rename(self, name: str) -> str | None:
        """The new name of one that fits, None to leave it out; raises ``ValueError`` for a group that is not there."""
        if self.target is None:
            return None
        if not self.source.startswith(REGEX):
            return self.target + (name.removeprefix(self.source) if self.is_prefix else "")
        found = re.fullmatch(self.source.removeprefix(REGEX), name)
        assert found is not None, (self, name)
        try:
            return found.expand(self.target)
        except (re.error, IndexError) as error:
            raise ValueError(f"'{self.target}' does not suit '{self.source}': {error}") from None


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """All rules of a map."""

    name: str
    """Of a built-in map, or the path of its file."""
    rules: tuple[Rule, ...] = ()

    def rename_all(self, names: Sequence[str]) -> dict[str, str | None]:
        """New name by old one, None for what is left out; ``ValueError`` where two names become the same."""
        renamed = {name: self._rename(name) for name in names}
        owner: dict[str, str] = {}
        for name, target in renamed.items():
            if target == "":
                raise ValueError(f"map {self.name}: '{name}' would get an empty name")
            if target is not None and owner.setdefault(target, name) != name:
                raise ValueError(f"map {self.name}: '{owner[target]}' and '{name}' would both become '{target}'")
        return renamed

    def unused(self, names: Sequence[str]) -> list[str]:
        """Rules that no name of the file fits, in order: often a misspelt one."""
        return [rule.source for rule in self.rules if not any(rule.fits(name) for name in names)]

    @property
    def sha256(self) -> str:
        """Digest of the rules."""
        return hashlib.sha256(json.dumps([(rule.source, rule.target) for rule in self.rules]).encode()).hexdigest()

    def _rename(self, name: str) -> str | None:
        rule = next((rule for rule in self.rules if rule.fits(name)), None)
        try:
            return name if rule is None else rule.rename(name)
        except ValueError as error:
            raise ValueError(f"map {self.name}: {error}") from None


def find_map(name: str | None) -> KeyMap:
    """A built-in map, or that of a YAML or JSON file; None changes no name. ``ValueError`` names file and rule."""
    if name is None:
        return KeyMap(name="none")
    pairs: Pairs = BUILT_IN[name] if name in BUILT_IN else read_pairs(Path(name))
    try:
        return KeyMap(name=name, rules=tuple(Rule(source, target) for source, target in pairs))
    except ValueError as error:
        raise ValueError(f"map {name}: {error}") from None


def read_pairs(path: Path) -> Pairs:
    """``from: to`` of a file in its order; JSON is YAML here. Raises ``ValueError`` naming the file and the key."""
    if not path.exists() and path.suffix not in (".yml", ".yaml", ".json"):
        raise ValueError(unknown("map", str(path), sorted(BUILT_IN)) + "; or name a .yml or .json file")
    try:
        node = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ValueError(f"map {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"map {path} is no YAML or JSON: {' '.join(str(error).split())}") from None
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"map {path} has to hold one mapping of old names to new ones, `from: to`")
    pairs = [(_text(key, path), _target(value, path)) for key, value in node.value]
    names = [source for source, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"map {path} has '{twice[0]}' twice: which one counts?")
    return pairs


def _text(node: yaml.Node, path: Path) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"map {path}, line {node.start_mark.line + 1}: a name is a text, not a list or a mapping")
    return str(node.value)


def _target(node: yaml.Node, path: Path) -> str | None:
    return None if node.tag == "tag:yaml.org,2002:null" else _text(node, path)
