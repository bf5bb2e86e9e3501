"""The law: whatever is done, in whatever order, and wherever a process dies, a projection is the fold of its log.

`make law` looks longer than `make test` does.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.law import LawMachine, Place
from tests.support.law_deaths import mortality

_PROFILES = {"small": (25, 25), "big": (300, 40)}


@pytest.fixture
def place(shared_url, redis_url):
    place = Place(shared_url, redis_url)
    with mortality():
        yield place
    place.runner.close()


# Hypothesis describes the whole vocabulary, and finds that long.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_a_projection_is_the_fold_of_its_log(place):
    examples, steps = _PROFILES[os.environ.get("LAW", "small")]
    machine = type("LawMachine", (LawMachine,), {"place": place})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
