"""What an environment says: Kedro's own configuration loader and typed parameters, without running anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Project:
    """The Kedro project around the working folder, as one environment configures it."""

    root: Path
    environment: str
    facts: Mapping[str, Any]
    """``globals.yml``: data_dir, generates_world, ..."""
    parameters: Mapping[str, Any]
    """Name of the YAML key -> its typed configuration."""

    @property
    def data_dir(self) -> Path:
        """Where a run writes."""
        return self.root / self.facts["data_dir"]

    def dataroot(self) -> Path:
        """The recordings that ``DIMA_DATAROOT`` names; raises ``ValueError`` where it names none."""
        from dima_pipeline.hooks import dataroot_from_environment
        from dima_pipeline.pipelines.datasets import RecordedRoot

        return RecordedRoot(dataroot=dataroot_from_environment()).load()


def find_root() -> Path | None:
    """The Kedro project that the working folder is in."""
    from kedro.utils import find_kedro_project

    return find_kedro_project(Path.cwd())


def required_root() -> Path:
    """``find_root``; raises ``ValueError`` outside of a project."""
    root = find_root()
    if root is None:
        raise ValueError(f"{Path.cwd()} is in no Kedro project: run this where pyproject.toml and conf/ are")
    return root


def load_project(environment: str) -> Project:
    """Read and check the configuration; raises ``ValueError``, or what Kedro raises (``errors.kedro_errors``), for what
    is wrong with it."""
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    from dima_pipeline.plugins import unknown

    root = required_root()
    known = sorted(path.name for path in (root / "conf").iterdir() if path.is_dir())
    if environment not in known:
        raise ValueError(unknown("environment", environment, known, where=str(root / "conf")))
    bootstrap_project(root)
    dict(pipelines)  # Kedro would leave parameters unchecked where a pipeline does not import
    with KedroSession.create(project_path=root, env=environment) as session:
        context = session.load_context()  # type: ignore[attr-defined]  # the stub names the abstract session
        facts, parameters = context.config_loader["globals"], context.params
    return Project(root=root, environment=environment, facts=facts, parameters=parameters)
