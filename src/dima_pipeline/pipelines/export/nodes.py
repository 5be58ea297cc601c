"""Node of the ``export`` pipeline."""

from pathlib import Path

from dima_pipeline.pipelines.hints import Table
from dima_pipeline.storage.manifest import read_manifest
from dima_pipeline.storage.runtime import RuntimeConfig

PARITY_FRAMES = 20
MAX_DIFFERENCE_M = 0.01
"""Between the trajectories of ONNX and torch over a sequence."""


def export_model(model: Path, samples: Table, image_shards: Path, runtime: RuntimeConfig) -> Path:
    """The ONNX bundle of a trained planner; refused where it does not plan what the torch planner plans."""
    from dima_pipeline.export.bundle import Provenance, check_parity, export_planner
    from dima_pipeline.storage.image_shards import ImageShards
    from dima_pipeline.storage.scene_reader import SceneReader
    from dima_pipeline.training.stages import load_planner

    planner, config = load_planner(model)
    shards = ImageShards(image_shards)
    manifest = read_manifest(model)
    training = {"run": manifest["name"], "stage": manifest["stage"], "command": config.window.command}
    provenance = Provenance(licence=samples.attrs["licence"], training=training)
    directory = runtime.staging(f"bundle_{manifest['stage']}")
    export_planner(planner, config.planner, directory, image_size=shards.image_size, provenance=provenance)
    reader = SceneReader(samples, shards, command=config.window.command)
    batches = [reader.batch([token]) for token in samples["sample_token"].head(PARITY_FRAMES)]
    difference_m = check_parity(planner, directory, batches)
    if difference_m > MAX_DIFFERENCE_M:
        raise ValueError(
            f"the exported planner differs by {difference_m:.3f} m from {model}: the bundle is not written"
        )
    return directory
