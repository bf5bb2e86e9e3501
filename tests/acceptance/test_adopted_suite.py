"""The repositories' own tests, on a database that was adopted."""

import sys

import pytest

from tests.support.checkout import REPOSITORY
from tests.support.processes import started

FILES = (
    *("accounts", "control_sets", "control_set_changes", "every_method", "experiments", "gene_sets", "law"),
    *("operations", "real_strategies", "stream_names", "streams", "users", "wdk_sync"),
)


@pytest.mark.large
async def test_the_repositories_pass_on_an_adopted_database(running_servers):
    files = [f"tests/integration/test_{name}.py" for name in FILES]
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--adopted", *files)
    async with started(*command, cwd=REPOSITORY, **running_servers) as running:
        finished = await running.finished(within=300)
    assert finished.code == 0, finished
    assert " passed" in finished.out
