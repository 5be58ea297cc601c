"""Rules typed by hand: which counts, what it makes of a name, and which cannot be meant."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.export.foreign_map import BUILT_IN, KeyMap, Rule, find_map
from dima_pipeline.planners import PLANNERS


def key_map(**rules) -> KeyMap:
    return KeyMap(name="hand", rules=tuple(Rule(source, target) for source, target in rules.items()))


def file(tmp_path, text, name="map.yml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_prefix_a_whole_name_an_expression_and_none():
    rules = {
        "img_backbone.": "backbone.",
        "head.bias": "exit.bias",
        r"re:layer(\d+)[.](.*)": r"blocks.\1.\2",
        "fc.": None,
    }
    names = ["img_backbone.conv1.weight", "head.bias", "head.bias2", "layer3.0.conv", "fc.weight", "img_backbone2.w"]
    assert list(key_map(**rules).rename_all(names).values()) == [
        "backbone.conv1.weight",
        "exit.bias",
        "head.bias2",
        "blocks.3.0.conv",
        None,
        "img_backbone2.w",
    ]


def test_the_first_rule_that_fits_counts():
    assert key_map(**{"a.b.": "first.", "a.": "second."}).rename_all(["a.b.c", "a.c"]) == {
        "a.b.c": "first.c",
        "a.c": "second.c",
    }


def test_an_expression_has_to_match_the_whole_name():
    assert key_map(**{"re:conv": "x"}).rename_all(["conv1", "conv"]) == {"conv1": "conv1", "conv": "x"}


def test_the_empty_prefix_puts_a_name_before_all():
    assert key_map(**{"fc.": None, "": "backbone."}).rename_all(["conv1.weight", "fc.bias"]) == {
        "conv1.weight": "backbone.conv1.weight",
        "fc.bias": None,
    }


def test_two_names_that_become_one_are_both_named():
    with pytest.raises(ValueError, match=r"map hand: 'a\.w' and 'b\.w' would both become 'c\.w'"):
        key_map(**{"a.": "c.", "b.": "c."}).rename_all(["a.w", "b.w"])


def test_a_name_that_becomes_one_already_there_is_refused():
    with pytest.raises(ValueError, match="would both become 'b'"):
        key_map(a="b").rename_all(["a", "b"])


def test_rules_that_fit_nothing_are_listed():
    assert key_map(**{"img_backbon.": "x.", "a.": "b."}).unused(["a.w", "img_backbone.w"]) == ["img_backbon."]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"re:(": "x"}, "'re:\\(' is no regular expression"),
        ({"img_backbone.": "backbone"}, "has to end in a dot"),
        ({"a.b": ""}, "null leaves it out"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_its_file(tmp_path, rules, words):
    path = file(tmp_path, json.dumps(rules), "map.json")
    with pytest.raises(ValueError, match=words) as caught:
        find_map(str(path))
    assert str(path) in str(caught.value)


def test_a_group_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="does not suit"):
        key_map(**{"re:(a)": r"\2"}).rename_all(["a"])


def test_yaml_and_json_are_read_in_their_order(tmp_path):
    yaml = file(tmp_path, "a.b.: first.\na.: second.\nfc.: null\n1: one\n")
    assert [(rule.source, rule.target) for rule in find_map(str(yaml)).rules] == [
        ("a.b.", "first."),
        ("a.", "second."),
        ("fc.", None),
        ("1", "one"),
    ]
    text = json.dumps({"a.b.": "first.", "a.": "second.", "fc.": None, "1": "one"})
    assert find_map(str(file(tmp_path, text, "m.json"))).rules == find_map(str(yaml)).rules


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b\na: c\n", "has 'a' twice"),
        ("- a\n- b\n", "one mapping"),
        ("", "one mapping"),
        ("a: [b]\n", "line 1: a name is a text"),
        ("a: {\n", "no YAML or JSON"),
    ],
)
def test_a_file_that_is_no_map_is_refused_by_name(tmp_path, text, words):
    path = file(tmp_path, text)
    with pytest.raises(ValueError, match=words) as caught:
        find_map(str(path))
    assert str(path) in str(caught.value)


def test_an_unknown_map_names_the_nearest_and_a_missing_file_is_said():
    with pytest.raises(ValueError, match="did you mean 'vad'"):
        find_map("vda")
    with pytest.raises(ValueError, match=r"nowhere\.yml cannot be read: No such file"):
        find_map("nowhere.yml")


def test_the_map_of_vad_sends_every_module_of_it_to_another_place():
    """Names of the published head (VAD_head.py); the loss weights are no weights of the model."""
    names = {
        "img_backbone.layer1.0.conv1.weight": "backbone.layer1.0.conv1.weight",
        "img_neck.lateral_convs.0.conv.weight": "backbone.neck.lateral_convs.0.conv.weight",
        "pts_bbox_head.code_weights": None,
        "pts_bbox_head.map_code_weights": None,
        "pts_bbox_head.transformer.level_embeds": "bev_encoder.level_embeds",
        "pts_bbox_head.transformer.encoder.layers.0.norms.0.weight": "bev_encoder.layers.0.norms.0.weight",
        "pts_bbox_head.transformer.decoder.layers.2.norms.0.bias": "agents.layers.2.norms.0.bias",
        "pts_bbox_head.transformer.map_decoder.layers.2.norms.0.bias": "map.layers.2.norms.0.bias",
        "pts_bbox_head.transformer.reference_points.weight": "agents.reference_points.weight",
        "pts_bbox_head.transformer.map_reference_points.weight": "map.reference_points.weight",
        "pts_bbox_head.query_embedding.weight": "agents.query_embedding.weight",
        "pts_bbox_head.map_instance_embedding.weight": "map.map_instance_embedding.weight",
        "pts_bbox_head.cls_branches.0.0.weight": "agent_head.cls_branches.0.0.weight",
        "pts_bbox_head.map_cls_branches.0.0.weight": "map_head.map_cls_branches.0.0.weight",
        "pts_bbox_head.traj_cls_branches.0.0.weight": "agent_head.traj_cls_branches.0.0.weight",
        "pts_bbox_head.motion_decoder.layers.0.norms.0.weight": "agent_head.motion_decoder.layers.0.norms.0.weight",
        "pts_bbox_head.ego_query.weight": "ego.ego_query.weight",
        "pts_bbox_head.ego_agent_decoder.layers.0.norms.0.weight": "ego.ego_agent_decoder.layers.0.norms.0.weight",
        "pts_bbox_head.ego_fut_decoder.0.weight": "trajectory_head.0.weight",
    }
    assert find_map("vad").rename_all(list(names)) == names


def resnet50_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's resnet50 without its classifier, written down from its definition."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **batch_norm("bn1", 64)}
    inputs = 64
    for stage, (width, num) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True), 1):
        for block in range(num):
            name = f"layer{stage}.{block}"
            for place, shape in enumerate([(width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)], 1):
                shapes |= {f"{name}.conv{place}.weight": shape, **batch_norm(f"{name}.bn{place}", shape[0])}
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                shapes |= batch_norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    return shapes


def batch_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (width,) for part in parts}, f"{name}.num_batches_tracked": ()}


def neck_shapes(size: str) -> dict[str, tuple[int, ...]]:
    """mmdetection's FPN as VAD configures it."""
    channels = (2048,) if size == "vad_tiny" else (512, 1024, 2048)
    shapes: dict[str, tuple[int, ...]] = {}
    for place, own in enumerate(channels):
        shapes |= {f"lateral_convs.{place}.conv.weight": (256, own, 1, 1), f"lateral_convs.{place}.conv.bias": (256,)}
    for place in range(1 if size == "vad_tiny" else 4):
        shapes |= {f"fpn_convs.{place}.conv.weight": (256, 256, 3, 3), f"fpn_convs.{place}.conv.bias": (256,)}
    return shapes


@pytest.mark.parametrize("size", ["vad_tiny", "vad_base"])
def test_what_vad_sees_images_with_fits_the_planner_of_its_size(size):
    planner = PLANNERS.parse({"name": "vad", "size": size})
    with torch.device("meta"):
        planner = PLANNERS.build(planner, image_size=(64, 96))
    own = {name: tuple(tensor.shape) for name, tensor in planner.state_dict().items()}
    seeing = {name: shape for name, shape in own.items() if name.startswith(("backbone.", "neck."))}
    theirs = {f"img_backbone.{name}": shape for name, shape in resnet50_shapes().items()}
    theirs |= {f"img_neck.{name}": shape for name, shape in neck_shapes(size).items()}
    renamed = find_map("vad_image").rename_all([*theirs, "pts_bbox_head.ego_query.weight"])
    assert renamed.pop("pts_bbox_head.ego_query.weight") is None
    assert {target: theirs[name] for name, target in renamed.items()} == seeing
    torchvisions = find_map("torchvision_resnet").rename_all([*resnet50_shapes(), "fc.weight"])
    assert torchvisions.pop("fc.weight") is None
    assert set(torchvisions.values()) == {name for name in own if name.startswith("backbone.")}


def test_every_built_in_map_is_sound():
    for name in BUILT_IN:
        assert find_map(name).rules


words = st.text("abc01_", min_size=1, max_size=5)
paths = st.lists(words, min_size=1, max_size=4).map(".".join)


@given(st.dictionaries(paths, words, min_size=1, max_size=12))
def test_whole_names_renamed_to_free_ones_and_back_are_as_before(pairs):
    there = {name: f"new{place}.{word}" for place, (name, word) in enumerate(pairs.items())}
    back = {new: name for name, new in there.items()}
    renamed = key_map(**there).rename_all(list(there))
    assert renamed == there
    assert key_map(**back).rename_all(list(renamed.values())) == back


@given(st.sets(paths, min_size=1, max_size=20), words)
def test_a_prefix_put_on_and_taken_off_changes_nothing(names, prefix):
    ordered = sorted(names)
    longer = list(key_map(**{"": f"{prefix}."}).rename_all(ordered).values())
    assert longer == [f"{prefix}.{name}" for name in ordered]
    assert list(key_map(**{f"{prefix}.": ""}).rename_all(longer).values()) == ordered


@given(st.sets(paths, min_size=2, max_size=12))
def test_no_map_ever_merges_two_names_in_silence(names):
    """A rule that drops the first part: either all new names differ or it is refused."""
    renaming = key_map(**{r"re:[^.]+[.](.+)": r"\1"})
    shorter = [name.split(".", 1)[-1] for name in names]
    if len(set(shorter)) < len(names):
        with pytest.raises(ValueError, match="would both become"):
            renaming.rename_all(sorted(names))
    else:
        assert sorted(renaming.rename_all(sorted(names)).values()) == sorted(shorter)
