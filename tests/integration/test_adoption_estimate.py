"""What a dry run says that an adoption takes, compared with what it takes."""

import time
from statistics import median

import pytest

from benchmarks.adoption_fill import fill
from tests.support.databases import connected
from tests.support.legacy.schema import schema_sql
from veupath_store.adoption import adopt, plan_adoption, undo_adoption
from veupath_store.config import StoreSettings

pytestmark = [pytest.mark.own_database, pytest.mark.large]

ROUNDS = 3
SIZE = "SELECT pg_database_size(current_database())"


async def test_a_dry_run_estimates_time_and_disk(empty_url):
    """20,000 conversations; the machine may be busy in one of the rounds."""
    settings, ratios = StoreSettings(database_url=empty_url), []
    async with connected(empty_url) as connection:
        await connection.execute(schema_sql("alembic"))
        await fill(connection, 20_000)
        before = await connection.fetchval(SIZE)
        for _ in range(ROUNDS):
            plan = await plan_adoption(settings)
            started = time.monotonic()
            await adopt(settings)
            ratios.append(plan.estimate_seconds / (time.monotonic() - started))
            grown = await connection.fetchval(SIZE) - before
            assert grown < plan.estimate_bytes < 3 * grown
            await undo_adoption(settings)
    # Within a third on a quiet machine, by `make bench-adopt`; here other tests run beside it.
    assert 1 / 2 < median(ratios) < 2, ratios
