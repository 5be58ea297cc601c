"""Guards against collapse: numbers that fall when an encoder makes its targets easy instead of the teacher good."""

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDING = 1e-12
"""Share of the squares of all tokens."""


@torch.no_grad()
def effective_rank(tokens: Float[Tensor, "B N D"]) -> Float[Tensor, ""]:
    """How many directions the tokens of a batch use, 1 to D: 0 where all of them are equal (RankMe, ICML 2023).

    The exponential of the entropy of the singular values of the tokens less their mean (Roy and Vetterli, 2007).
    """
    # What is not finite is named by the losses; here it counts as nothing.
    rows = torch.nan_to_num(tokens.detach().flatten(0, 1).double(), nan=0.0, posinf=0.0, neginf=0.0)
    spread = rows - rows.mean(0)
    squares = torch.linalg.eigvalsh(spread.mT @ spread)
    # Less than this share of the tokens' own size is the rounding of float32.
    values = torch.where(squares > ROUNDING * rows.square().sum(), squares, 0.0).sqrt()
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return (torch.exp(-torch.xlogy(share, share).sum()) * (values.sum() > 0)).float()
