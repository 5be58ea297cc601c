"""How to go on: command lines that are right for the environment of the run."""

from dataclasses import dataclass

from dima_pipeline.reporting.config import ReportConfig

AFTER_TRAINING = "distillation,export,evaluation,drift,report"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Lines to copy, and what they do."""

    what: str
    lines: str


def command_groups(run: ReportConfig) -> dict[str, list[Command]]:
    """Heading -> commands."""
    return {
        "Change something and train again": _training(run),
        "Watch the data and the run": _watching(run),
        "Use your own recordings": _recordings(),
        "Drive with it": _serving(run),
    }


def again(run: ReportConfig, pipelines: str) -> str:
    """Run ``pipelines`` of the environment again."""
    return f"kedro run --env {run.environment} --pipelines={pipelines}"


def adopt_sweep(run: ReportConfig) -> Command:
    """Train with the best settings of the sweep."""
    copy = f"cp {run.data_dir}/06_models/sweep/parameters_distillation.yml conf/{run.environment}/"
    what = (
        "Take over the best settings, train with them, and write this page again. Where "
        f"conf/{run.environment}/ has that file already, write the keys into it instead of copying"
    )
    return Command(what=what, lines=f"{copy}\n{again(run, AFTER_TRAINING)}")


def search(run: ReportConfig) -> Command:
    """Make a sweep; some environments make none unless they are asked to."""
    what = (
        "Search for better settings among those of conf/base/parameters_tuning.yml; a larger number goes on from there"
    )
    return Command(what=what, lines=f"{again(run, 'tuning,report')} --params tuning.num_trials=20")


def _training(run: ReportConfig) -> list[Command]:
    where = f"conf/{run.environment}/parameters_distillation.yml"
    longer = f"{again(run, AFTER_TRAINING)} --params distillation.joint.num_steps=800"
    stage_file = "" if run.generates_world else f" dvc/{run.environment}/dvc.yaml"
    return [
        Command(what=f"Train longer with the teacher, this once; to keep it, write it into {where}", lines=longer),
        search(run),
        adopt_sweep(run),
        Command(
            what="Do again what a change in code, data or conf/ touches, and nothing else",
            lines=_with_data(run, f"dvc repro{stage_file}"),
        ),
    ]


def _watching(run: ReportConfig) -> list[Command]:
    dashboard = f"{again(run, 'distillation')} --params runtime.use_dashboard=true\nray get-auth-token"
    return [
        Command(what="Compare the scenes again and write both pages", lines=again(run, "drift,report")),
        Command(
            what="Watch a training in Ray’s dashboard, 127.0.0.1:8265; the second line, elsewhere, prints its token",
            lines=dashboard,
        ),
    ]


def _recordings() -> list[Command]:
    run = "DIMA_DATAROOT=/path/to/nuscenes kedro run --env"
    return [
        Command(what="nuScenes mini: ten scenes, to see that it runs", lines=f"{run} nuscenes_mini"),
        Command(what="nuScenes trainval, or recordings in its format", lines=f"{run} nuscenes"),
    ]


def _serving(run: ReportConfig) -> list[Command]:
    bundle = f"{run.data_dir}/06_models/planner_bundle"
    code = (
        "from pathlib import Path\n"
        "from dima_pipeline.serving.bundle import PlannerBundle\n\n"
        f'bundle = PlannerBundle.load(Path("{bundle}"))\n'
        "plan, memory = bundle.plan(batch, memory=None)  # a contracts.batch.SceneBatch\n"
        "plan.trajectory  # (B, 6, 2) metres ahead and to the left, 0.5 … 3.0 s"
    )
    return [
        Command(what="Check that the bundle is whole before it goes anywhere", lines=f"dima verify {bundle}"),
        Command(what="Plan in Python: numpy and onnxruntime are all it needs", lines=code),
    ]


def _with_data(run: ReportConfig, line: str) -> str:
    return line if run.generates_world else f"DIMA_DATAROOT=/path/to/recordings {line}"
