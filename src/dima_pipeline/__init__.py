"""dima_pipeline: distil a multimodal LLM into an end-to-end driving planner (DiMA, arXiv 2501.09757)."""

__version__ = "0.1.0"
