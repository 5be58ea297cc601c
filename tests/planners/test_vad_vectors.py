"""The sizes of VAD: shapes as the notes on the paper list them, parameters counted by hand, and what trains what."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dima_pipeline.contracts.batch import BevMemory, SceneBatch
from dima_pipeline.contracts.frames import AGENT_CATEGORIES, CAMERAS, COMMANDS, MAP_KINDS, NUM_FUTURE_STEPS
from dima_pipeline.export.graph import refuse_teacher
from dima_pipeline.models.refining_decoder import from_metres
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.planners import PLANNERS
from dima_pipeline.planners._vad_sizes import IMAGE_SIZES
from dima_pipeline.planners._vad_vectors import LOSS_WEIGHTS, VadTokens
from planner_bundles import IMAGE_SIZE, fresh_planner
from scene_batches import make_scene_batch, make_targets

SIZES = ("vad_tiny", "vad_base")
DIM = 256


def on_meta(size: str) -> Any:
    """The planner without memory for its weights."""
    with torch.device("meta"):
        return PLANNERS.build(PLANNERS.parse({"name": "vad", "size": size}), image_size=IMAGE_SIZES[size])


def meta_scene(planner: Any) -> tuple[SceneBatch, BevMemory]:
    with torch.device("meta"):
        batch = SceneBatch(
            images=torch.zeros(1, len(CAMERAS), *planner.image_size, 3, dtype=torch.uint8),
            image_from_ego=torch.zeros(1, len(CAMERAS), 3, 4),
            camera_valid=torch.ones(1, len(CAMERAS), dtype=torch.bool),
            command=torch.zeros(1, dtype=torch.int64),
            prev_from_ego=torch.zeros(1, 3),
        )
        bev = torch.zeros(1, planner.num_bev_cells, planner.token_dim)
        return batch, BevMemory(bev=bev, is_valid=torch.ones(1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("size", "num_cells", "num_layers", "strides"),
    [("vad_tiny", 100 * 100, 3, (32,)), ("vad_base", 200 * 200, 6, (8, 16, 32, 64))],
)
def test_the_shapes_are_those_of_vad(size: str, num_cells: int, num_layers: int, strides: tuple[int, ...]) -> None:
    planner = on_meta(size)
    batch, memory = meta_scene(planner)
    with torch.no_grad():
        levels = planner.neck(planner.backbone(batch.images[0]))
        beam, after = planner.encode(batch, memory)
        plan = planner.plan(beam, batch)
    height, width = IMAGE_SIZES[size]
    assert [tuple(x.shape) for x in levels] == [(6, DIM, -(-height // s), -(-width // s)) for s in strides]
    assert beam.bev.shape == after.bev.shape == (1, num_cells, DIM)
    assert beam.ego.shape == (1, 1, DIM)
    assert beam.agent.shape == (1, 300, DIM)
    assert beam.map.shape == (1, 100, DIM)
    assert beam.agent_center.shape == (1, 300, 2)
    assert beam.map_center.shape == (1, 100, 2)
    decoded = beam.decoded
    assert len(planner.bev_encoder.layers) == len(decoded.agents) == len(decoded.map) == num_layers
    assert decoded.agents[-1].logits.shape == (1, 300, len(AGENT_CATEGORIES))
    assert decoded.motion.steps.shape == (1, 300, 6, NUM_FUTURE_STEPS, 2)
    assert decoded.motion.logits.shape == (1, 300, 6)
    assert decoded.map[-1].logits.shape == (1, 100, 3)
    assert decoded.map[-1].points.shape == (1, 100, 20, 2)
    assert plan.features.shape == (1, 512)
    assert plan.trajectory.shape == (1, 6, 2)


def test_the_three_kinds_of_the_map_are_those_of_vad() -> None:
    assert MAP_KINDS[:3] == ("divider", "ped_crossing", "boundary")


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def conv(inputs: int, outputs: int, size: int) -> int:
    return inputs * outputs * size * size + outputs


NORM = 2 * DIM
BRANCH = DIM
"""A factor a channel at the end of each residual branch."""
MLP = linear(DIM, 512) + linear(512, DIM) + BRANCH
"""262 912 + 256: FFN of 512, as VAD's."""
ATTENTION = 4 * linear(DIM, DIM) + BRANCH
"""Query, key, value and output: 4 x 65 792 + 256."""
INTERACTION = 2 * NORM + ATTENTION + MLP
"""A layer of VAD's motion, motion-map, ego-agent and ego-map decoders: attention to others, FFN."""


def deformable(query_dim: int, num_places: int) -> int:
    """Two coordinates and one weight a place, value and output layers."""
    return linear(query_dim, 2 * num_places) + linear(query_dim, num_places) + 2 * linear(DIM, DIM) + BRANCH


def head(outputs: int, inputs: int = DIM) -> int:
    """LayerNorm, one hidden layer as wide as the input, outputs."""
    return 2 * inputs + linear(inputs, inputs) + linear(inputs, outputs)


def bottlenecks(inputs: int, width: int, num: int) -> int:
    """A stage of ResNet: 1x1, 3x3, 1x1 convolutions without bias, batch norms; first a 1x1 shortcut with its norm."""
    outputs = 4 * width
    norms = 2 * (width + width + outputs)
    first = inputs * width + 9 * width * width + width * outputs + norms + inputs * outputs + 2 * outputs
    other = outputs * width + 9 * width * width + width * outputs + norms
    return first + (num - 1) * other


RESNET50 = (
    3 * 64 * 7 * 7
    + 2 * 64
    + bottlenecks(64, 64, 3)
    + bottlenecks(256, 128, 4)
    + bottlenecks(512, 256, 6)
    + bottlenecks(1024, 512, 3)
)


def bev_encoder(num_cells: int, num_layers: int, num_levels: int) -> int:
    """BEV queries, camera and level embeddings; temporal attention: 8 heads x (then, now) x 4 points chosen by both
    tokens; spatial: 8 heads x levels x 8 points."""
    temporal = deformable(2 * DIM, 8 * 2 * 4)
    spatial = deformable(DIM, 8 * num_levels * 8)
    layer = 3 * NORM + temporal + spatial + MLP
    return (num_cells + 6 + num_levels) * DIM + num_layers * layer + NORM


REFINING_LAYER = 3 * NORM + ATTENTION + deformable(DIM, 8 * 1 * 4) + MLP + head(2) + NORM
"""Self-attention, deformable attention, FFN, the shift of the reference, the norm of the answers."""


def agents(num_layers: int) -> int:
    """300 queries with places; class of 10 and 6 numbers of the box beside its centre, after each layer."""
    return 300 * (DIM + 2) + num_layers * (REFINING_LAYER + head(10) + head(6))


def map_(num_layers: int) -> int:
    """100 elements and 20 points, 2000 places; class of 3 after each layer."""
    return (100 + 20) * DIM + 2000 * 2 + num_layers * (REFINING_LAYER + head(3))


# 6 modes, Linear(2 -> 256), two interactions, heads on 512, and the fusion 3072 -> 256 -> 256.
MOTION = 6 * DIM + linear(2, DIM) + 2 * INTERACTION + head(12, 512) + head(1, 512) + linear(3072, DIM) + NORM
MOTION += linear(DIM, DIM)
TRAJECTORY_HEAD = 2 * 512 + 2 * linear(512, 512) + linear(512, len(COMMANDS) * 6 * 2)
SHARED = {
    "backbone": RESNET50,
    "lane_encoder": 3 * (linear(DIM, 128) + 2 * 128),
    "motion": MOTION,
    "agent_position": linear(2, DIM),
    "map_position": linear(2, DIM),
    "agent_norm": NORM,
    "map_norm": NORM,
    "ego": DIM + 2 * INTERACTION + NORM,
    "trajectory_head": TRAJECTORY_HEAD,
}
BY_HAND = {
    "vad_tiny": {
        "neck": conv(2048, DIM, 1) + conv(DIM, DIM, 3),
        "bev_encoder": bev_encoder(100 * 100, 3, 1),
        "agents": agents(3),
        "map": map_(3),
        **SHARED,
    },
    "vad_base": {
        "neck": conv(512, DIM, 1) + conv(1024, DIM, 1) + conv(2048, DIM, 1) + 4 * conv(DIM, DIM, 3),
        "bev_encoder": bev_encoder(200 * 200, 6, 4),
        "agents": agents(6),
        "map": map_(6),
        **SHARED,
    },
}


@pytest.mark.parametrize(("size", "total"), [("vad_tiny", 38_602_490), ("vad_base", 56_487_295)])
def test_the_parameters_are_those_counted_by_hand(size: str, total: int) -> None:
    # 25 557 032 is torchvision's resnet50, 2 049 000 its classifier.
    assert RESNET50 == 25_557_032 - 2_049_000
    planner = on_meta(size)
    found = {name: sum(p.numel() for p in part.parameters()) for name, part in planner.named_children()}
    assert found == BY_HAND[size]
    assert sum(found.values()) == total


def test_an_image_backbone_is_no_piece_of_a_teacher() -> None:
    refuse_teacher(on_meta("vad_tiny"))


def test_frozen_normalisation_leaves_the_weights_of_the_resnet_to_train() -> None:
    trained = [p for p in on_meta("vad_tiny").backbone.parameters() if p.requires_grad]
    # All but a weight and a bias of each batch norm.
    assert sum(p.numel() for p in trained) == RESNET50 - 2 * 26_560


def test_a_size_is_a_preset_that_single_options_override() -> None:
    config = PLANNERS.parse({"name": "vad", "size": "vad_tiny", "num_agent_queries": 50})
    assert (config.num_agent_queries, config.num_map_queries, config.token_dim) == (50, 100, 256)
    assert PLANNERS.parse(PLANNERS.dump(config)) == config
    assert type(config)(size="vad_tiny", num_agent_queries=50) == config
    assert PLANNERS.parse({"name": "vad", "size": "tiny_cpu"}) == PLANNERS.parse("vad")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "vad_huge"}, "'tiny_cpu', 'vad_tiny' or 'vad_base'"),
        ({"backbone": "resnet50"}, "backbone resnet50 with num_levels 1 needs parts: vad, got small"),
        ({"size": "vad_base", "num_levels": 2}, "num_levels 2 must be num_stages 3 or more"),
        ({"size": "vad_tiny", "num_heads": 7}, "token_dim 256 must be a multiple of 8 and of num_heads 7"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PLANNERS.parse({"name": "vad", **options})


def test_images_that_a_resnet_would_cut_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(360, 640\) must be a multiple of 32"):
        PLANNERS.build(PLANNERS.parse({"name": "vad", "size": "vad_tiny"}), image_size=(360, 640))


def believing(kind: str) -> Any:
    """A planner that is sure of cars half a metre beside its way at 8 m and of ``kind`` along it, 60 cm to the left."""
    planner = fresh_planner("vad_of_vectors")
    grid = planner.bev_encoder.grid
    with torch.no_grad():
        planner.agents.classify[-1][-1].bias[0] = planner.map.classify[-1][-1].bias[MAP_KINDS.index(kind)] = 9.0
        planner.agents.references.copy_(from_metres(torch.tensor([8.0, 0.5]), grid))
        along = torch.stack([torch.linspace(0, 20, 20), torch.full((20,), 0.6)], -1)
        planner.map.references.copy_(from_metres(along, grid))
    return planner


def small_losses(planner: Any, batch_size: int = 2) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    batch = to_tensors(make_scene_batch(rng, batch_size, IMAGE_SIZE))
    targets = to_tensors(make_targets(rng, batch_size))
    bev = torch.zeros(batch_size, planner.num_bev_cells, planner.token_dim)
    beam, _ = planner.encode(batch, BevMemory(bev=bev, is_valid=torch.zeros(batch_size, dtype=torch.bool)))
    terms: dict[str, torch.Tensor] = planner.losses(beam, planner.plan(beam, batch), batch, targets)
    return terms


@pytest.mark.parametrize(("kind", "silent"), [("boundary", "direction"), ("divider", "boundary")])
def test_every_term_of_vad_reaches_the_backbone(kind: str, silent: str) -> None:
    planner = believing(kind)
    terms = small_losses(planner)
    assert set(terms) == set(LOSS_WEIGHTS)
    assert terms.pop(silent) == 0
    weight = next(planner.backbone.parameters())
    for name, term in terms.items():
        assert term > 0, name
        gradient = torch.autograd.grad(term, weight, retain_graph=True)[0]
        assert gradient.abs().sum() > 0, name


def test_constraints_on_the_plan_do_not_train_what_is_believed_of_others() -> None:
    planner = believing("boundary")
    terms = small_losses(planner)
    total = terms["collision"] + terms["boundary"]
    assert total > 0
    heads = [*planner.agents.classify.parameters(), *planner.motion.steps.parameters()]
    assert torch.autograd.grad(total, heads, allow_unused=True) == (None,) * len(heads)


def test_it_over_fits_a_few_samples_in_every_part() -> None:
    planner = fresh_planner("vad_of_vectors")
    optimizer = torch.optim.AdamW(planner.parameters(), 3e-3)
    start: dict[str, float] = {}
    for _ in range(60):
        terms = small_losses(planner)
        start = start or {name: term.item() for name, term in terms.items()}
        optimizer.zero_grad()
        sum(terms.values(), torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(planner.parameters(), 35.0)
        optimizer.step()
    for name in ("trajectory_l1", "agent_class", "agent_box", "agent_motion", "map_class", "map_points"):
        assert terms[name].item() < 0.7 * start[name], (name, start[name], terms[name].item())


def test_a_beam_that_is_changed_keeps_what_the_decoders_said() -> None:
    planner = fresh_planner("vad_of_vectors")
    batch = to_tensors(make_scene_batch(np.random.default_rng(0), 1, IMAGE_SIZE))
    bev = torch.zeros(1, planner.num_bev_cells, planner.token_dim)
    beam, _ = planner.encode(batch, BevMemory(bev=bev, is_valid=torch.zeros(1, dtype=torch.bool)))
    masked = replace(beam, bev=0 * beam.bev)
    assert isinstance(masked, VadTokens)
    assert masked.decoded is beam.decoded


def test_activations_that_are_computed_again_give_the_same_gradients() -> None:
    found = []
    for is_kept in (True, False):
        planner = believing("boundary").train()
        if not is_kept:
            planner.checkpoint_gradients()
        torch.stack(list(small_losses(planner).values())).sum().backward()
        found.append({name: p.grad for name, p in planner.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and any(name.startswith("backbone") for name in found[0])
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
