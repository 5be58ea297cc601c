"""Tables of an environment, read through the catalog: where they lie and what they must hold is said there alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dima_pipeline.cli.project import required_root

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The catalog of an environment, and what its configuration says."""

    name: str
    data_dir: Path
    licence: str
    parameters: dict[str, Any]
    catalog: Any

    def load(self, entry: str) -> Any:
        """What a catalog entry holds; raises what Kedro raises (``errors.kedro_errors``) where it is not there."""
        return self.catalog.load(entry)

    def tables(self, entries: Sequence[str]) -> "dict[str, pd.DataFrame]":
        """Tables by the names of their entries."""
        return {entry: self.load(entry) for entry in entries}


def open_environment(name: str) -> Environment:
    """Raises ``ValueError``, or what Kedro raises, for an unknown environment or a wrong configuration."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    from dima_pipeline.plugins import unknown

    root = required_root()
    known = sorted(path.name for path in (root / "conf").iterdir() if path.is_dir())
    if name not in known:
        raise ValueError(unknown("environment", name, known, where=str(root / "conf")))
    bootstrap_project(root)
    with KedroSession.create(project_path=root, env=name) as session:
        context = session.load_context()  # type: ignore[attr-defined]  # the stub names the abstract session
        facts, parameters, catalog = context.config_loader["globals"], context.params, context.catalog
    return Environment(
        name=name,
        data_dir=root / facts["data_dir"],
        licence=facts["licence"],
        parameters=parameters,
        catalog=catalog,
    )
