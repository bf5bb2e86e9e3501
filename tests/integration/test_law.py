"""The law: whatever is done, in whatever order, and wherever a process dies, a projection is the fold of its log.

The second machine also stops and freezes Redis, empties it, sets it back, and turns its clock back.

`make law` looks longer than `make test` does.
"""

import os
from contextlib import closing

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.law import LawMachine, Place
from tests.support.law_deaths import mortality
from tests.support.law_redis import FaultyLawMachine, FaultyPlace

_PROFILES = {"small": (25, 25), "big": (300, 40)}
_FAULTY = {"small": (12, 25), "big": (300, 40)}
PROFILE = os.environ.get("LAW", "small")
# Hypothesis describes the whole vocabulary, and finds that long.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def run(kind, place, examples, steps):
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with mortality(), closing(place.runner):
        run_state_machine_as_test(type(kind.__name__, (kind,), {"place": place}), settings=chosen)


def test_a_projection_is_the_fold_of_its_log(shared_url, redis_url):
    run(LawMachine, Place(shared_url, redis_url), *_PROFILES[PROFILE])


def test_a_projection_is_the_fold_of_its_log_whatever_becomes_of_redis(shared_url, private_redis):
    run(FaultyLawMachine, FaultyPlace(shared_url, private_redis), *_FAULTY[PROFILE])
