"""What the report is told about the environment: ``params:report``."""

from pathlib import PurePosixPath

from dima_pipeline.plugins import config_dataclass


@config_dataclass
class ReportConfig:
    """The YAML key ``report``; its commands are written with these facts."""

    dataset: str = "recordings"
    """What the page calls the data."""
    data_dir: str = "data/synthetic"
    """What the environment writes into; its last part is the name of the environment."""
    generates_world: bool = True
    """Whether the data is generated, so that no ``DIMA_DATAROOT`` is needed."""

    @property
    def environment(self) -> str:
        """Name of the Kedro environment."""
        return PurePosixPath(self.data_dir).name
