"""What saves memory changes no result: micro-batches, bf16 and activations that are computed again."""

import pytest
import torch
from safetensors.torch import load_file

from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.objective import remember
from dima_pipeline.training.parallel import save_activation_memory
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.trainer import Run, Trainer
from parallel_workers import curve, joint_objective, train_alone
from teaching_cases import make_training_batch

STAGE = {"num_steps": 6, "batch_size": 8, "learning_rate": 0.02, "warmup_steps": 2, "clip_norm": 0.5}


@pytest.mark.parametrize("num_micro_batches", [2, 8])
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(tmp_path, num_micro_batches):
    whole = train_alone(tmp_path / "whole", stage=STAGE)
    parts = train_alone(tmp_path / "parts", stage={**STAGE, "num_micro_batches": num_micro_batches})
    for found, expected in zip(curve(tmp_path / "parts"), curve(tmp_path / "whole"), strict=True):
        assert found == pytest.approx(expected, rel=2e-6, abs=2e-6)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=2e-6, atol=2e-6)


def test_a_batch_that_does_not_split_into_micro_batches_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"batch_size 8 does not split among 1 workers of 3 micro-batches"):
        train_alone(tmp_path, stage={**STAGE, "num_micro_batches": 3})


def test_with_bf16_the_curve_is_near_and_weights_and_optimiser_stay_float32(tmp_path):
    train_alone(tmp_path / "fp32", stage=STAGE)
    model = train_alone(tmp_path / "bf16", stage={**STAGE, "precision": "bf16"})
    full, half = curve(tmp_path / "fp32"), curve(tmp_path / "bf16")
    assert full != half
    for found, expected in zip(half, full, strict=True):
        assert found["total"] == pytest.approx(expected["total"], rel=0.03)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    saved = load_file(tmp_path / "bf16" / "checkpoints" / "step_00000006" / "optimizer.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float32}


def gradients(directory, precision="fp32", checkpointing=False):
    """Of the real objective on one batch, the terms, and how many bytes are kept for the backward pass."""
    model, kept = joint_objective(), {}
    if checkpointing:
        save_activation_memory(model)
    stage = StageConfig(num_steps=1, batch_size=4, precision=precision)
    trainer = Trainer(model.train(), Run(stage=stage, seed=3, digest="d", directory=directory), LocalRuntime())
    trainer.generator.manual_seed(0)

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        terms = trainer._forward(make_training_batch(4))
    terms["total"].backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, terms, sum(kept.values())


def test_bf16_computes_loss_terms_in_float32_and_leaves_no_weight_without_its_gradient(tmp_path):
    """Autocast keeps weights that it casts for past keyframes, which take no gradient: they must not be used again."""
    full, wanted, _ = gradients(tmp_path)
    half, terms, _ = gradients(tmp_path, "bf16")
    assert {value.dtype for value in terms.values()} == {torch.float32}
    assert half.keys() == full.keys()
    assert {gradient.dtype for gradient in half.values()} == {torch.float32}
    for name in ("planning/trajectory_l1", "teacher/vqa", "surrogate/masked_reconstruction/reconstruction"):
        assert terms[name].item() == pytest.approx(wanted[name].item(), rel=0.03, abs=0.02)
    flat = [torch.cat([found[name].flatten() for name in full]) for found in (full, half)]
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.99


def test_activations_that_are_computed_again_take_less_memory_and_give_the_same_gradients(tmp_path):
    kept, terms, num_kept = gradients(tmp_path)
    again, found, num_again = gradients(tmp_path, checkpointing=True)
    assert num_again < 0.6 * num_kept
    assert again.keys() == kept.keys()
    for name, value in terms.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


def test_a_planner_that_computes_again_gives_the_same_bits(tmp_path):
    """The scene encoder: nothing in it is random."""
    planners = [joint_objective().planner.train() for _ in range(2)]
    planners[1].checkpoint_gradients()
    window = make_training_batch(2).window
    for planner in planners:
        beam, _ = planner.encode(window.current, remember(planner, window))
        beam.bev.square().sum().backward()
    first, second = (planner.backbone.parameters() for planner in planners)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(first, second, strict=True))
