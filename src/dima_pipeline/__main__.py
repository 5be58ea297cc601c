"""``python -m dima_pipeline`` is the ``dima`` command."""

from dima_pipeline.cli import main

main()
