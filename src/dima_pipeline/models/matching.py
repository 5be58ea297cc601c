"""One-to-one matching of queries and ground truth (DETR), and the set losses on what is matched."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

NONE_WEIGHT = 0.1
"""Weight of unmatched queries in the classification: there are many more of them (DETR)."""


@dataclass(frozen=True)
class Matches:
    """Parallel indices of the matched pairs: sample, query, target."""

    sample: Int[Tensor, "K"]
    query: Int[Tensor, "K"]
    target: Int[Tensor, "K"]


@torch.no_grad()
def match(cost: Float[Tensor, "B N G"], valid: Bool[Tensor, "B G"]) -> Matches:
    """The cheapest assignment of each sample's valid targets to queries (Hungarian)."""
    costs, valids = cost.detach().float().cpu().numpy(), valid.cpu().numpy()
    pairs: list[tuple[int, int, int]] = []
    for sample, (matrix, is_there) in enumerate(zip(costs, valids, strict=True)):
        columns = is_there.nonzero()[0]
        queries, chosen = linear_sum_assignment(matrix[:, columns])
        pairs += [(sample, int(q), int(columns[c])) for q, c in zip(queries, chosen, strict=True)]
    indices = torch.tensor(pairs, dtype=torch.int64, device=cost.device).reshape(-1, 3)
    return Matches(*indices.unbind(1))


def class_cost(logits: Float[Tensor, "B N K+1"], category: Int[Tensor, "B G"]) -> Float[Tensor, "B N G"]:
    """Minus the probability of each target's category."""
    index = category[:, None].expand(-1, logits.shape[1], -1)
    return -logits.softmax(-1).gather(2, index)


def set_cross_entropy(
    logits: Float[Tensor, "B N K+1"], category: Int[Tensor, "B G"], matches: Matches
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy; queries without a match should say the last class, "none"."""
    none = logits.shape[-1] - 1
    expected = torch.full(logits.shape[:2], none, dtype=torch.int64, device=logits.device)
    expected[matches.sample, matches.query] = category[matches.sample, matches.target]
    weight = logits.new_ones(none + 1)
    weight[none] = NONE_WEIGHT
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), expected.flatten(), weight)


def masked_mean(values: Float[Tensor, "..."], mask: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean where ``mask`` (broadcast) is true; a differentiable zero where it never is."""
    weight = mask.to(values.dtype).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1)
