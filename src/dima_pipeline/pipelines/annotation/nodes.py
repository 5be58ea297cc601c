"""Node of the ``annotation`` pipeline."""

import pandas as pd

from dima_pipeline.curation.annotate import AnnotationConfig, annotate
from dima_pipeline.datasets import SceneTables


def annotate_scenes(config: AnnotationConfig, *tables: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Question-answer pairs, scene edits and slice members of the tables (in the order of ``SceneTables``)."""
    return annotate(config, SceneTables(*tables))
