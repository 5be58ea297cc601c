"""A worker of Ray Train that hangs ends the run, in words and not to be tried again."""

import logging
import time

import pytest

from dima_pipeline.distributed.ray_runtime import launch
from training_runs import has_logged, make_runtime, make_spec

LIMIT_S = 3.0

logger = logging.getLogger(__name__)


def ended(folder, **settings):
    """What the user reads of a run whose last rank hangs in step 8."""
    spec = make_spec(folder, fsync_s=0.0, hang_at=8)
    started_s = time.monotonic()
    with pytest.raises(ValueError, match="and was ended") as caught:
        launch([spec], make_runtime(folder, max_failures=2, hang_timeout_s=LIMIT_S, **settings))
    logger.info("%.1f s in all\n%s", time.monotonic() - started_s, caught.value)
    assert has_logged(spec, 7) and not has_logged(spec, 8)
    return str(caught.value)


@pytest.mark.slow
def test_a_step_without_end_ends_the_run_with_rank_step_phase_and_stack(local_ray, tmp_path):
    text = ended(tmp_path)
    assert "hangs at rank 0 of 1" in text
    assert "has done nothing for" in text and "at step 8, phase forward (limit 3 s)" in text
    assert "sleep_for_ever" in text


@pytest.mark.slow
def test_of_two_workers_the_one_that_hangs_is_named_and_the_other_waits(local_ray, tmp_path):
    text = ended(tmp_path, num_workers=2)
    assert "hangs at rank 1 of 2" in text
    assert "at step 8, phase forward (limit 3 s)" in text and "the others wait: rank 0 in step 8, phase" in text
    assert "sleep_for_ever" in text
