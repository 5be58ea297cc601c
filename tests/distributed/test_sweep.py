"""A sweep on Ray Tune, end to end: a process that dies, trials that fail, the best that distillation then trains."""

import json

import pytest
import ray
import yaml
from PIL import Image

from dima_pipeline.contracts.result_tables import SweepTrials
from dima_pipeline.distributed import sweep
from dima_pipeline.distributed.sweep_ledger import Ledger
from dima_pipeline.distributed.sweep_space import value_at
from dima_pipeline.storage.manifest import verify
from dima_pipeline.training.config import dump_distillation, parse_distillation
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import is_finished, load_planner, plan_stages, train_stage
from sweep_cases import DISTILLATION, SPACE, make_data, make_distillation, make_joint, make_tuning, run_sweep

NUM_TRIALS = 6
BROKEN = {"name": "doubles.fake_teacher", "broken_from": 4}
"""A configuration with four queries is not finite."""
SPACE_WITH_BROKEN = {**SPACE, "teacher.num_bev_queries": {"kind": "choice", "values": [1, 2, 4]}}


@pytest.fixture(scope="module")
def swept(local_ray, tmp_path_factory):
    """Folder, configuration and trials of a sweep, in which the first process that comes to its sixth step dies."""
    directory = tmp_path_factory.mktemp("swept")
    planner = {"name": "doubles.fake_planner", "die_at": 5, "died_flag": str(directory / "died")}
    config = make_distillation(planner=planner, teacher=BROKEN)
    make_joint(directory, config)
    tuning = make_tuning(num_trials=NUM_TRIALS, space=SPACE_WITH_BROKEN)
    return directory, config, run_sweep(directory, tuning, config)


def ledger_of(directory):
    (found,) = (directory / "work" / "sweeps").iterdir()
    return Ledger(found)


def test_the_table_has_a_row_a_trial_and_marks_the_default_and_the_best(swept):
    table = swept[2]
    SweepTrials.validate(table)
    assert table["trial"].tolist() == list(range(NUM_TRIALS))
    assert table.loc[table["is_default"], "trial"].tolist() == [0]
    finished = table[table["status"] == "finished"]
    assert table.loc[table["is_best"], "trial"].tolist() == [finished["objective"].idxmin()]
    assert set(finished["step"]) == {12}
    assert json.loads(table["config"][0])["joint.learning_rate"] == 0.01


def test_the_objective_varies_and_the_best_beats_the_default(swept):
    table = swept[2]
    assert table["objective"].dropna().nunique() == table["objective"].notna().sum() >= 3
    assert table.loc[table["is_best"], "objective"].item() < table["objective"][0]


def test_a_trial_whose_losses_are_not_finite_is_a_failed_row_and_no_other_is(swept):
    directory, _, table = swept
    is_broken = table["config"].map(lambda text: json.loads(text)["teacher.num_bev_queries"] == 4)
    assert is_broken.any()
    assert (table["status"] == "failed").tolist() == is_broken.tolist()
    assert table.loc[is_broken, "objective"].isna().all()
    errors = [trial.error for trial in ledger_of(directory).trials if trial.status == "failed"]
    assert all("not finite, for the 4th time" in error for error in errors)


def test_a_trial_whose_process_dies_goes_on_from_its_checkpoint(swept):
    directory, _, _ = swept
    assert (directory / "died").exists()
    for trial in ledger_of(directory).trials:
        steps = [line["step"] for line in read_log(ledger_of(directory).run_dir(trial.number) / "log.jsonl")]
        assert steps == list(range(len(steps)))


def test_the_directory_is_whole_and_its_pictures_can_be_seen(swept):
    directory, _, table = swept
    facts = verify(directory / "out")
    assert (facts["kind"], facts["num_trials"]) == ("sweep", NUM_TRIALS)
    assert set(facts["files"]) == {"parameters_distillation.yml", "objective_by_step.png", "objective_by_parameter.png"}
    for name in ("objective_by_step.png", "objective_by_parameter.png"):
        with Image.open(directory / "out" / name) as picture:
            assert len(set(picture.convert("L").getdata())) > 50
    comment = (directory / "out" / "parameters_distillation.yml").read_text().splitlines()[0]
    assert f"{table['objective'].min():.3f} m after 12 steps, the default {table['objective'][0]:.3f} m" in comment


def test_only_the_ledger_and_results_stay_in_the_work_folder(swept):
    directory, _, _ = swept
    assert not list((directory / "work").glob("**/ray"))
    assert not list((directory / "work" / "sweeps").glob("*/runs/*/checkpoints"))


def test_distillation_trains_the_best_configuration_from_the_same_pretrained_planner(swept):
    directory, config, table = swept
    written = yaml.safe_load((directory / "out" / "parameters_distillation.yml").read_text())["distillation"]
    facts = dump_distillation(config)
    for key, value in written.items():
        facts[key] = {**facts[key], **value} if isinstance(value, dict) else value
    best = parse_distillation(facts)
    found = json.loads(table.loc[table["is_best"], "config"].item())
    assert {path: value_at(dump_distillation(best), path) for path in found} == found
    stages = plan_stages(best, *make_data(directory), directory / "work")
    assert is_finished(stages["pretraining"])
    planner, trained = load_planner(train_stage(stages["joint"], LocalRuntime()))
    assert trained == best and len(read_log(stages["joint"].log_path)) == DISTILLATION["joint"]["num_steps"]
    assert not planner.training


def test_a_larger_number_continues_the_sweep(swept):
    directory, config, table = swept
    tuning = make_tuning(num_trials=NUM_TRIALS + 1, space=SPACE_WITH_BROKEN)
    more = run_sweep(directory, tuning, config)
    assert len(more) == NUM_TRIALS + 1
    unchanged = ["trial", "config", "objective", "step", "status"]
    assert more[unchanged].head(NUM_TRIALS).equals(table[unchanged])


def test_when_all_trials_fail_the_sweep_says_why(local_ray, tmp_path):
    config = make_distillation(teacher={**BROKEN, "broken_from": 1})
    make_joint(tmp_path, config)
    with pytest.raises(ValueError, match=r"all 2 trials of the sweep failed, the first one so: step 3: .* not finite"):
        run_sweep(tmp_path, make_tuning(num_trials=2), config)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_space_that_does_not_fit_starts_nothing(tmp_path):
    space = {"joint.learning_rat": SPACE["joint.learning_rate"]}
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        run_sweep(tmp_path, make_tuning(space=space), make_distillation())
    assert not (tmp_path / "work").exists()


def test_no_trials_asked_for_is_an_empty_table_and_a_directory_that_says_so(tmp_path):
    table = run_sweep(tmp_path, make_tuning(num_trials=0), make_distillation())
    assert SweepTrials.validate(table).empty
    assert verify(tmp_path / "out")["num_trials"] == 0
    text = (tmp_path / "out" / "parameters_distillation.yml").read_text()
    assert "num_trials is 0" in text and yaml.safe_load(text) == {"distillation": {}}
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("changes", "renamed"),
    [
        ({"num_trials": 9}, False),
        ({"trials": "trainer", "max_concurrent": 7}, False),
        ({"seed": 1}, True),
        ({"num_steps": 11}, True),
        ({"space": {"joint.learning_rate": SPACE["joint.learning_rate"]}}, True),
    ],
)
def test_a_sweep_is_named_by_what_decides_its_trials(tmp_path, changes, renamed):
    joint = plan_stages(make_distillation(), *make_data(tmp_path), tmp_path / "work")["joint"]
    before = sweep.sweep_name(make_tuning(), joint)
    assert (sweep.sweep_name(make_tuning(**changes), joint) != before) == renamed


@pytest.mark.slow
def test_trials_of_the_ray_trainer_give_their_workers_back(local_ray, tmp_path):
    """Killed by Tune, a stopped trial would leave its placement group, and the third one would wait for ever."""
    make_joint(tmp_path)
    tuning = make_tuning(num_trials=4, trials="trainer", num_steps=40)
    table = run_sweep(tmp_path, tuning, make_distillation())
    assert set(table["status"]) == {"finished", "stopped"}
    groups = ray.util.placement_group_table().values()
    assert {group["state"] for group in groups} == {"REMOVED"}
