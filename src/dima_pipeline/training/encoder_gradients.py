"""How much each loss term moves the encoder that all of them share, and whether it pulls with the rest or against it.

The shared encoder is what the planner's scene tokens depend on: every term reaches it through them, those of the
teacher too. Gradients are taken beside the step and thrown away, so that measuring changes no weight.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

NORM, COSINE = "norm", "cosine"
Tokens = list[Tensor]


@contextmanager
def watch_encoder(model: torch.nn.Module) -> Iterator[Tokens]:
    """The scene tokens with gradients that ``model.planner`` encodes while the body runs; none where it has none.

    Past and future keyframes are encoded without gradients and do not count.
    """
    tokens: Tokens = []
    planner: Any = getattr(model, "planner", None)
    if planner is None:
        yield tokens
        return
    encode = planner.encode

    def watched(*arguments: Any) -> Any:
        beam, memory = encode(*arguments)
        found = (beam.bev, beam.ego, beam.agent, beam.map)
        tokens.extend(token for token in found if token.requires_grad)
        return beam, memory

    planner.encode = watched
    try:
        yield tokens
    finally:
        del planner.encode


def encoder_gradients(
    losses: Mapping[str, Float[Tensor, ""]], tokens: Tokens, model: torch.nn.Module
) -> dict[str, float]:
    """``norm/<term>``: L2 norm of the gradient of each loss, unweighted, with respect to the shared encoder's weights;
    ``cosine/<term>``: cosine of the angle to the gradient of ``total``, negative where the term pulls against it.

    To be called between the forward pass that made ``tokens`` and its backward pass. A term that does not reach the
    encoder has norm 0; no cosine is given where a norm is 0. Without tokens, nothing.
    """
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    weights = [weight for weight in reached(tokens) if id(weight) in trained]
    if not weights:
        return {}
    total = _gradient(losses["total"], weights)
    length = _dot(total, total) ** 0.5
    found: dict[str, float] = {}
    for name, loss in losses.items():
        if not loss.requires_grad:
            continue
        gradient = total if name == "total" else _gradient(loss, weights)
        norm = _dot(gradient, gradient) ** 0.5
        found[f"{NORM}/{name}"] = norm
        if name != "total" and norm * length > 0:
            found[f"{COSINE}/{name}"] = _dot(gradient, total) / (norm * length)
    return found


def reached(tokens: Sequence[Tensor]) -> list[Tensor]:
    """The leaves of the graph behind ``tokens``, each once, in the order in which they are found."""
    waiting = [token.grad_fn for token in tokens if token.grad_fn is not None]
    seen, leaves = set(waiting), []
    while waiting:
        node = waiting.pop()
        if (leaf := getattr(node, "variable", None)) is not None:
            leaves.append(leaf)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return leaves


def _gradient(loss: Tensor, weights: Sequence[Tensor]) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True))


def _dot(first: Sequence[Tensor | None], second: Sequence[Tensor | None]) -> float:
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return float(sum(torch.sum(a.double() * b.double()) for a, b in pairs)) if pairs else 0.0
