"""A model whose teacher is sharded among the workers (FSDP2) while all the rest is replicated.

After ZeRO (arXiv 1910.02054), by ``torch.distributed.fsdp.fully_shard``. Imported where it is asked for alone: sharded
tensors take torch a second to load.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dima_pipeline.training.checkpoints import Tensors, load_trainable, trainable_state
from dima_pipeline.training.optimizer import is_sharded, plain_groups
from dima_pipeline.training.parallel import Alone, Precision, require_same_groups


class ShardedTeacher(Alone):
    """The teacher's weights, gradients and optimiser state are split among the workers; the rest is on each of them.

    A copy trains, and the model that was passed in waits on the CPU, an ordinary one. The teacher's gradients are
    averaged in every backward pass, accumulated or not: whole ones would need the memory that sharding saves. A layer
    of the teacher that no worker used has a gradient of zero, not none: it decays.
    """

    can_repeat_backward = False

    def __init__(self, model: nn.Module, device: torch.device, precision: Precision = "fp32") -> None:
        if getattr(model, "average", None) is not None:
            raise ValueError(
                "objective.teacher_ema has no average of a sharded teacher: set it to 0, or runtime.parallel to ddp"
            )
        assert_same_models(model, device)
        self._original, self._world_size = model, dist.get_world_size()
        sharded: Any = copy.deepcopy(model)
        shard(sharded.teacher, device.type, precision)
        super().__init__(sharded, device)
        trainable = [parameter for parameter in sharded.parameters() if parameter.requires_grad]
        self._replicated = [parameter for parameter in trainable if not is_sharded(parameter)]
        names = set(sharded.state_dict())
        self._statistics = [buffer for name, buffer in sharded.named_buffers() if name in names]

    def begin_step(self) -> None:
        """Those of the first worker, as DDP has it."""
        for buffer in self._statistics:
            dist.broadcast(buffer, 0)

    def average_gradients(self) -> None:
        """One all-reduce of all that is not sharded; a gradient that no worker has stays away."""
        if not self._replicated:
            return
        gradients = [parameter.grad for parameter in self._replicated]
        device = self._replicated[0].device
        has = torch.tensor([float(gradient is not None) for gradient in gradients], device=device)
        sizes = [parameter.numel() for parameter in self._replicated]
        own = [
            torch.zeros(size, device=device) if gradient is None else gradient.float().flatten()
            for size, gradient in zip(sizes, gradients, strict=True)
        ]
        flat = torch.cat([has, *own])
        dist.all_reduce(flat)
        flat /= self._world_size
        anyone, *means = flat.split([len(sizes), *sizes])
        for parameter, share, mean in zip(self._replicated, anyone.tolist(), means, strict=True):
            if share > 0:
                parameter.grad = mean.view_as(parameter).to(parameter.dtype)

    def clip(self, parameters: Sequence[nn.Parameter], max_norm: float) -> float:
        """By the norm over all shards and the replicated rest together."""
        parts = [[p for p in parameters if is_sharded(p) == wanted] for wanted in (False, True)]
        norms = [_full(get_total_norm([p.grad for p in part if p.grad is not None])) for part in parts]
        total = torch.linalg.vector_norm(torch.stack([norm.to(norms[1].device) for norm in norms]))
        for part in parts:
            clip_grads_with_norm_(part, max_norm, total)
        return float(total)

    def state(self) -> Tensors:
        """Put together tensor by tensor, so that no worker ever holds more than one whole one on its device."""
        return {name: _gathered(tensor) for name, tensor in trainable_state(self.model).items()}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Its groups are merged into those of the model alone."""
        state, groups = {}, []
        number = 0
        for settings, parameters in plain_groups(self.model, optimizer):
            groups.append({**settings, "params": list(range(number, number + len(parameters)))})
            for parameter in parameters:
                if entries := optimizer.state.get(parameter):
                    state[number] = {name: _gathered(value) for name, value in entries.items()}
                number += 1
        return {"state": state, "param_groups": groups}

    def load(self, tensors: Tensors, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Each worker reads everything and keeps its shards."""
        like = dict(self.model.named_parameters(remove_duplicate=False))
        load_trainable(self.model, {name: _part(tensor, like.get(name)) for name, tensor in tensors.items()})
        groups = [parameters for _, parameters in plain_groups(self.model, optimizer)]
        require_same_groups([len(parameters) for parameters in groups], state)
        plain = [parameter for parameters in groups for parameter in parameters]
        own = {id(p): i for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
        entries = {
            own[id(plain[number])]: {name: _part(value, plain[number]) for name, value in found.items()}
            for number, found in state["state"].items()
        }
        optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})

    def finish(self) -> None:
        """See ``Alone``."""
        tensors = self.state()
        if dist.get_rank() == 0:
            load_trainable(self._original, tensors)


def shard(teacher: Any, device_type: str, precision: Precision) -> None:
    """Split a teacher in place: the units it names one by one, so that few are whole at a time, then the rest.

    With bf16, units are bfloat16 already when they are put together: copies that ``autocast`` made would stay until the
    backward pass. Shards, and gradients when they are averaged, are float32.
    Raises ``ValueError`` for a teacher without ``prepare_for_sharding``, which names those units.
    """
    if not hasattr(teacher, "prepare_for_sharding"):
        raise ValueError(
            f"the teacher {type(teacher).__name__} cannot be sharded: it has no prepare_for_sharding; "
            "set runtime.parallel to ddp"
        )
    mesh = init_device_mesh(device_type, (dist.get_world_size(),))
    dtype = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for unit in teacher.prepare_for_sharding():
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    scalars = {parameter for parameter in teacher.parameters() if parameter.ndim == 0}  # nothing to split
    # Batches without questions leave the output layer of some workers unused: all of them reduce the same tensors.
    whole = fully_shard(teacher, mesh=mesh, ignored_params=scalars)
    whole.set_reduce_scatter_unused_params(True)


def assert_same_models(model: nn.Module, device: torch.device) -> None:
    """Each worker builds its model from the same seed: what is sharded is never compared again."""
    size = sum(float(p.detach().double().square().sum()) for p in model.parameters() if p.requires_grad)
    mine = torch.tensor(size, dtype=torch.float64, device=device)
    everyones = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyones, mine)
    assert all(torch.equal(mine, other) for other in everyones), "the workers built different models"


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _gathered(value: Any) -> Any:
    """The whole of a tensor on the CPU of the first worker; others must not keep what they helped to put together."""
    if not isinstance(value, DTensor):
        return value
    whole = value.full_tensor()
    return whole.cpu() if dist.get_rank() == 0 else whole.new_empty(0)


def _part(whole: Any, like: Any) -> Any:
    """This worker's part of a tensor that belongs to the parameter ``like``; a count of steps is not split."""
    if not isinstance(like, DTensor) or not isinstance(whole, Tensor) or whole.shape != like.shape:
        return whole
    # Every worker has read the same tensor: none has to send it.
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
