"""What holds for every public method of every repository: ownership, and a bounded number of statements.

The methods are found by introspection: a new one without a case in tests/support/cases.py fails here.
"""

import re

import pytest

from tests.support.cases import CASES, all_cases, every_repository, methods
from tests.support.statements import recorded
from tests.support.world import contents, make_world
from veupath_store import StoreError, UserRepository
from veupath_store.models import User
from veupath_store.repositories.inventory import OWNED_TABLES

EACH = pytest.mark.parametrize(
    ("repository", "method", "case"), all_cases(), ids=lambda value: getattr(value, "__name__", str(value))[:40]
)
OWNED = re.compile(rf"\b({'|'.join(owned.table for owned in OWNED_TABLES)})\b")


async def outcome(call):
    """What a caller can see of a call: its error or its answer, without the ids in it."""
    try:
        answer = await call
    except StoreError as exc:
        return type(exc), str(exc)
    return answer if answer is None or isinstance(answer, bool | list) else type(answer), repr_of(answer)


def repr_of(answer):
    items = getattr(answer, "items", None)
    return repr(answer) if items is not None or isinstance(answer, bool | list | None) else "something"


def test_every_public_method_of_every_repository_has_a_case():
    assert set(every_repository()) == set(CASES)
    for repository, cases in CASES.items():
        assert methods(repository) == sorted(cases), repository.__name__


@EACH
async def test_a_foreign_id_looks_like_a_missing_one_and_changes_nothing(store, repository, method, case):
    world = await make_world(f"owner-{method}")
    stranger = await UserRepository().create()
    before = await contents()
    theirs = repository().for_user(stranger.id)
    foreign = await outcome(case.call(theirs, world))
    after_foreign = await contents()
    unknown = await outcome(case.call(theirs, world.unknown()))
    assert foreign == unknown
    assert after_foreign == before


@EACH
async def test_the_owner_is_served_by_statements_that_name_the_user(store, repository, method, case):
    world = await make_world()
    await User.filter(id=world.owner).update(external_id=f"{world.owner}@example.org")
    mine = repository().for_user(world.owner)
    with recorded() as sent:
        served = await outcome(case.call(mine, world))
    unnamed = [sql for sql in sent if OWNED.search(sql) and "user_id" not in sql]
    assert not unnamed or case.job_side
    nobody = world.unknown()
    missing = await outcome(case.call(repository().for_user(nobody.owner), nobody))
    assert served != missing or case.same_for_all


@EACH
async def test_a_deleted_user_is_nobody(store, repository, method, case):
    world = await make_world()
    await UserRepository().delete(world.owner)
    before = await contents()
    gone = await outcome(case.call(repository().for_user(world.owner), world))
    after = await contents()
    nobody = world.unknown()
    never = await outcome(case.call(repository().for_user(nobody.owner), nobody))
    assert gone == never
    # Who was deleted may come back as a new user.
    assert after == before or method in ("get_or_create", "get_or_create_by_external_id")


@pytest.mark.large
@EACH
async def test_a_method_costs_as_many_statements_as_it_says_whatever_the_number_of_rows(
    store, repository, method, case
):
    counts = []
    for rows in (0, 300):
        world = await make_world()
        await User.filter(id=world.owner).update(external_id=f"{world.owner}@example.org")
        await fill(world, rows)
        with recorded() as sent:
            await outcome(case.call(repository(), world))
        counts.append(len(sent))
    assert counts[0] <= case.statements
    # An export reads in chunks; what is made by the first call is only read by the second.
    assert counts[1] <= counts[0] or method == "export"


async def fill(world, rows):
    """More conversations and control sets of the same owner."""
    client = User._meta.db
    await client.execute_rows(
        "WITH s AS (INSERT INTO streams (id, user_id, site_id) "
        "           SELECT gen_random_uuid(), $1, 'plasmodb' FROM generate_series(1, $2::int) RETURNING id), "
        "     n AS (SELECT id, row_number() OVER () AS n FROM s) "
        "INSERT INTO stream_projections (stream_id, user_id, site_id, name, wdk_strategy_id) "
        "SELECT id, $1, 'plasmodb', 'New Conversation (' || n || ')', 1000 + n FROM n",
        [world.owner, rows],
    )
    await client.execute_rows(
        "INSERT INTO control_sets (id, user_id, name, site_id, record_type, tags, positive_ids) "
        "SELECT gen_random_uuid(), $1, 'n' || n, 'plasmodb', 'transcript', '[\"t\"]', '[\"g1\"]' "
        "FROM generate_series(1, $2::int) n",
        [world.owner, rows],
    )
