"""Which gauge tells what of a line of the log."""

from dima_pipeline.distributed.metrics import BY_RANK, BY_TERM, OF_ALL, Reading, readings

LINE = {
    "step": 7,
    "seconds": 0.5,
    "samples_per_second": 16.0,
    "data_wait_seconds": 0.25,
    "data_stall_share": 0.125,
    "resident_memory_bytes": 1000,
    "terms": {
        "planning/agent_box": 0.75,
        "total": 3.0,
        "metric/answer_token_accuracy": 0.5,
        "gradient_norm": 2.0,
        "learning_rate": 0.001,
    },
    "encoder": {"norm/planning/agent_box": 1.5, "cosine/planning/agent_box": -0.25},
}
ONE_WORKERS = [
    ("dima_data_wait_seconds", 0.25, "1"),
    ("dima_data_stall_share", 0.125, "1"),
    ("dima_resident_memory_bytes", 1000, "1"),
]


def test_the_first_worker_tells_everything_each_value_once():
    assert list(readings(LINE, rank=0)) == [
        Reading("dima_data_wait_seconds", 0.25, {"rank": "0"}),
        Reading("dima_data_stall_share", 0.125, {"rank": "0"}),
        Reading("dima_resident_memory_bytes", 1000, {"rank": "0"}),
        Reading("dima_step", 7),
        Reading("dima_step_seconds", 0.5),
        Reading("dima_samples_per_second", 16.0),
        Reading("dima_loss", 0.75, {"term": "planning/agent_box"}),
        Reading("dima_loss", 3.0, {"term": "total"}),
        Reading("dima_metric", 0.5, {"term": "answer_token_accuracy"}),
        Reading("dima_gradient_norm", 2.0),
        Reading("dima_learning_rate", 0.001),
        Reading("dima_encoder_gradient_norm", 1.5, {"term": "planning/agent_box"}),
        Reading("dima_encoder_gradient_cosine", -0.25, {"term": "planning/agent_box"}),
    ]


def test_another_worker_tells_what_is_its_own():
    line = {**LINE, "device_memory_bytes": 2000}
    expected = [*ONE_WORKERS, ("dima_device_memory_bytes", 2000, "1")]
    assert [(r.gauge, r.value, r.tags["rank"]) for r in readings(line, rank=1)] == expected


def test_steps_at_which_no_gradients_are_measured_tell_nothing_of_them():
    line = {name: value for name, value in LINE.items() if name != "encoder"}
    assert not [reading for reading in readings(line, rank=0) if "encoder" in reading.gauge]


def test_every_reading_has_its_gauge():
    line = {**LINE, "device_memory_bytes": 2000}
    assert {reading.gauge for reading in readings(line, rank=0)} == {*BY_TERM, *OF_ALL, *BY_RANK}
