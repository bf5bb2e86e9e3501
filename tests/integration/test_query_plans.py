"""On 200,000 rows a table, every list, search and lookup uses the index that it needs.

No sequential scan, no sort of the whole set, and few rows that are read and not shown: an index that fits less well
would read many. Every public method is called for the heavy user, who owns a tenth of all rows, lists for their second
page as well, and each statement is explained with the values that it was sent with.
"""

import pytest

from tests.support.apart import run_apart
from tests.support.big import HEAVY, ROWS, USERS, fill
from tests.support.cases import all_cases
from tests.support.plans import explained
from tests.support.servers import new_name
from tests.support.statements import recorded_with_values
from tests.support.world import World, new_lease
from veupath_store import StoreError, StoreSettings, StreamRepository, async_session_factory, close_db, init_db
from veupath_store.models import User
from veupath_store.values import OperationType

pytestmark = pytest.mark.large

MOST = 1_100
"""Rows that a page may sort, or read and not show: a page of the largest size, from each of two branches."""
BULK = {"purge", "export", "delete", "prune_wdk_orphans", "dismiss_wdk_orphans"}
"""What goes through all rows of a user, and may sort them."""


@pytest.fixture(scope="module")
def big_url(server, template):
    name = new_name()
    run_apart(server.create(name, template))
    run_apart(fill(server, name))
    yield server.url(name)
    run_apart(server.drop(name))


@pytest.fixture
async def big(big_url):
    await init_db(settings=StoreSettings(database_url=big_url, statement_timeout=60))
    # Kept, because each call below is undone before its statements are explained.
    await StreamRepository().get_system_stream()
    yield await heavy_world()
    await close_db()


async def heavy_world():
    """The heavy user's newest conversation, and what belongs to it."""

    async def one(sql, *values):
        return (await User._meta.db.execute_rows(f"{sql} LIMIT 1", list(values)))[0]

    mine = (await one("SELECT user_id FROM streams GROUP BY user_id ORDER BY count(*) DESC"))["user_id"]
    stream = await one(
        "SELECT s.id, s.experiment_id, p.wdk_strategy_id "
        "FROM streams s JOIN stream_projections p ON p.stream_id = s.id "
        "WHERE s.user_id = $1 AND p.wdk_strategy_id IS NOT NULL AND p.dismissed_at IS NULL",
        mine,
    )
    dismissed = await one("SELECT stream_id FROM stream_projections WHERE user_id = $1 AND dismissed_at < now()", mine)
    held = await one(
        "SELECT id, lease_token, lease_expires_at FROM operations "
        "WHERE user_id = $1 AND status = 'active' AND lease_token IS NOT NULL",
        mine,
    )
    held = {"operation_id": held["id"], "token": held["lease_token"], "expires_at": held["lease_expires_at"]}
    return World(
        **{kind: (await one(f"SELECT id FROM {kind}s WHERE user_id = $1", mine))["id"] for kind in KINDS},
        owner=mine,
        stream=stream["id"],
        dismissed=dismissed["stream_id"],
        subject=stream["experiment_id"],
        operation=held["operation_id"],
        lease=new_lease(user_id=mine, type=OperationType.CHAT, **held),
        wdk=stream["wdk_strategy_id"],
    )


KINDS = ("control_set", "gene_set", "experiment")


@pytest.mark.parametrize(
    ("repository", "method", "case"), [pytest.param(*each, id=f"{each[0].__name__}.{each[1]}") for each in all_cases()]
)
async def test_every_statement_of_a_method_uses_indexes(big, repository, method, case):
    client = User._meta.db
    with recorded_with_values() as sent:
        try:
            async with async_session_factory() as session:
                found = await case.call(repository(session), big)
                if cursor := getattr(found, "next_cursor", None):
                    positional, named = case.arguments(big)
                    await getattr(repository(session), method)(*positional, **named, cursor=cursor)
                raise StoreError("nothing is kept")
        except StoreError:
            pass
    assert sent
    for sql, values in sent:
        plan = await explained(client, sql, values)
        assert not plan.sequential_scans, sql
        if method not in BULK:
            assert max(plan.sorted_rows, plan.filtered_rows) <= MOST, sql
        assert plan.sorted_rows <= HEAVY + ROWS // USERS
