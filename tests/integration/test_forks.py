"""Children forked from a process whose store is in use: they open and close their own, and the parent goes on."""

import sys

import pytest

from tests.support.checkout import REPOSITORY
from tests.support.forking import CASES
from tests.support.processes import run

pytestmark = [pytest.mark.own_database, pytest.mark.with_log]

QUICK = {"forks_in_a_session", "leaves_through_the_session"}


@pytest.mark.parametrize("case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.large) for c in CASES])
async def test_a_forked_child_has_a_store_of_its_own_and_the_parent_goes_on(case, settings):
    urls = (settings.database_url.get_secret_value(), settings.redis_url.get_secret_value(), settings.log_prefix)
    # Warnings are errors, and nothing may be written about connections that were not closed.
    result = await run(sys.executable, "-W", "error", "-m", "tests.support.forking", case, *urls, cwd=REPOSITORY)
    assert (result.code, result.err) == (0, ""), str(result)
    assert "parent works" in result.out.splitlines()
    if case == "uses_what_is_the_parent_s":
        assert result.out.count("refused: ") == 4
