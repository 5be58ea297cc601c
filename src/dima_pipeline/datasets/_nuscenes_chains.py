"""Checks the chains that ``prev`` and ``next`` make: keyframes of scenes, readings of sensors, boxes of instances."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from dima_pipeline.datasets._nuscenes_columns import CHAINS, LOST, Columns, Links, Row
from dima_pipeline.datasets._nuscenes_findings import Findings, shown


class SampleChains:
    """Links and times of ``sample`` as lists, for walking."""

    def __init__(self, tables: Mapping[str, Columns], links: Links, findings: Findings) -> None:
        self.place, self.table, self.findings = tables["scene"].path, tables["sample"], findings
        self.scene, self.previous, self.following = (
            links["sample", field].tolist() for field in ("scene_token", "prev", "next")
        )
        self.first, self.last = (links["scene", f"{end}_sample_token"].tolist() for end in ("first", "last"))
        self.times_us = self.table.values["timestamp"].tolist()

    def chain(self, number: int, scene: Row) -> list[int] | None:
        """The rows of a scene from its first to its last keyframe; None where they are no chain."""
        rows: list[int] = []
        row, before = self.first[number], -1
        while row >= 0:
            if LOST in (self.scene[row], self.previous[row]):
                return None
            # A circle comes back to a row whose prev is not the row before it.
            if self.scene[row] != number or self.previous[row] != before:
                text = f"the keyframes of {shown(scene['name'])} are no chain at sample {self._token(row)}"
                self._refuse(scene, f"{text}: check its prev", row)
                return None
            rows.append(row)
            row, before = self.following[row], row
        last = self.last[number]
        if LOST in (row, last):
            return None
        if before != last or len(rows) != scene["nbr_samples"]:
            promised = f"promises {shown(scene['nbr_samples'])} keyframes up to {self._token(last)}"
            chained = f"sample.json chains {len(rows)} up to {self._token(before)}"
            self._refuse(scene, f"{shown(scene['name'])} {promised}, {chained}", before)
            return None
        self._check_times(scene, rows)
        return rows

    def _refuse(self, scene: Row, text: str, row: int) -> None:
        self.findings.add(
            "scene_chain", "sample", f"{self.place}: {text}", token=self._token(row), scene_name=shown(scene["name"])
        )

    def _check_times(self, scene: Row, rows: list[int]) -> None:
        times_us = [self.times_us[row] for row in rows]
        late = [row for row, time, before in zip(rows[1:], times_us[1:], times_us[:-1], strict=True) if time <= before]
        if late:
            name, token = shown(scene["name"]), self._token(late[0])
            message = f"{self.place}: sample {token} of {name} is not later than the keyframe before it"
            self.findings.add("time_order", "sample", message, token=token, num=len(late), scene_name=name)

    def _token(self, row: int) -> str:
        return shown(self.table.record(row)["token"])


def check_chains(tables: Mapping[str, Columns], links: Links, findings: Findings) -> None:
    """``prev`` and ``next`` of the tables in ``CHAINS`` point at each other and never round in a circle; those of
    ``sample`` are left to ``check_scenes``."""
    for name in CHAINS:
        if name != "sample" and links.keys() >= {(name, "prev"), (name, "next")}:
            _check_chain(tables[name], links[name, "prev"], links[name, "next"], findings)


def _check_chain(
    table: Columns, previous: Int[np.ndarray, "R"], following: Int[np.ndarray, "R"], findings: Findings
) -> None:
    is_next_torn, is_prev_torn = _is_torn(following, previous), _is_torn(previous, following)
    if is_next_torn.any() or is_prev_torn.any():
        # One cut tears a chain on both sides.
        field, back, is_torn = ("next", "prev", is_next_torn) if is_next_torn.any() else ("prev", "next", is_prev_torn)
        row = table.record(int(is_torn.argmax()))
        token, target = shown(row["token"]), shown(row[field])
        message = f"{table.path}: {field} of record {token} is {target}, whose {back} is another record"
        findings.add("torn_chain", table.path, message, token=row["token"], num=int(is_torn.sum()))
    is_circle = _on_circle(np.where(is_next_torn, -1, following))
    if is_circle.any():
        token = table.record(int(is_circle.argmax()))["token"]
        message = f"{table.path}: prev and next lead from record {shown(token)} round in a circle"
        findings.add("cyclic_chain", table.path, message, token=token, num=int(is_circle.sum()))


def _is_torn(ends: Int[np.ndarray, "R"], back: Int[np.ndarray, "R"]) -> Bool[np.ndarray, "R"]:
    """Rows from which ``ends`` leads to one that does not lead ``back``, as far as it is known where that leads."""
    returns = back[ends]
    return (ends >= 0) & (returns != np.arange(len(ends))) & (returns != LOST)


def _on_circle(following: Int[np.ndarray, "R"]) -> Bool[np.ndarray, "R"]:
    """Rows from which ``following`` never comes to an end, by doubling the steps."""
    end = len(following)
    ahead = np.append(np.where(following < 0, end, following), end)
    num_steps = 1
    while num_steps <= end and (ahead < end).any():
        ahead, num_steps = ahead[ahead], 2 * num_steps
    return ahead[:end] < end
