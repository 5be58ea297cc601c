"""How often claims hold, by who wrote them and what kind they are: the table that the report shows."""

import pandas as pd

from dima_pipeline.contracts.result_tables import GroundingRates

MAX_EXAMPLE = 300
"""Characters of a quoted failure."""


def grounding_rates(checked: pd.DataFrame) -> pd.DataFrame:
    """``GroundingRates`` of pairs with the columns source, claim, check, question, answer and reason.

    Sorted by source and claim; the example is the first failure in the order of the pairs.
    """
    rows = []
    named = checked.assign(claim=checked["claim"].replace("", "none"))
    for (source, claim), group in named.groupby(["source", "claim"], sort=True):
        counts = {f"num_{check}": int((group["check"] == check).sum()) for check in ("passed", "failed", "unchecked")}
        failed = group[group["check"] == "failed"]
        example = None if failed.empty else _quoted(failed.iloc[0])
        rows.append({"source": source, "claim": claim, **counts, "first_failure": example})
    return GroundingRates.validate(pd.DataFrame(rows, columns=list(GroundingRates.to_schema().columns)))


def _quoted(pair: pd.Series) -> str:
    question, answer, reason = (str(pair[name])[: MAX_EXAMPLE // 3 - 2] for name in ("question", "answer", "reason"))
    text = f"{question} {answer} ({reason})"
    # Control characters do nothing on the page, but in a terminal that prints the table they would.
    return "".join(one if one.isprintable() else "\ufffd" for one in text)
