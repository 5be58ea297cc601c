"""Hints of node arguments. Kedro evaluates those of a node before it runs it, and pandas takes half as long to load as
an empty Kedro project needs to start: a checker reads ``Table`` as a data frame, Python as anything."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame as Table
else:
    Table = Any

__all__ = ["Table"]
