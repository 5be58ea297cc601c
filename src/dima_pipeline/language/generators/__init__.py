"""Text generators: a new one is one file with ``Config`` and ``build(config) -> TextGenerator``."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

GENERATORS = Family(__name__)
GeneratorSpec = Annotated[Any, BeforeValidator(GENERATORS.parse)]
