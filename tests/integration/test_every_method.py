"""What holds for every public method of every repository: ownership, and a bounded number of statements.

The methods are found by introspection: a new one without a case in tests/support/cases.py fails here.
"""

import re

import pytest

from tests.support.calls import insert_streams
from tests.support.cases import CASES, all_cases, methods, owned_cases
from tests.support.public import repositories
from tests.support.statements import recorded
from tests.support.world import contents, make_world
from veupath_store import StoreError, UserRepository
from veupath_store.models import User
from veupath_store.repositories.accounts import OWNED_TABLES

OWNED = re.compile(rf"\b({'|'.join(owned.table for owned in OWNED_TABLES)})\b")


async def outcome(call):
    """What a caller can see of a call: its error or its answer, without the ids in it."""
    try:
        answer = await call
    except StoreError as exc:
        return type(exc), str(exc)
    is_plain = answer is None or isinstance(answer, bool | list)
    return answer if is_plain else type(answer), repr(answer) if is_plain or hasattr(answer, "items") else "something"


def test_every_public_method_of_every_repository_has_a_case():
    assert set(repositories()) == set(CASES)
    for repository, cases in CASES.items():
        assert methods(repository) == sorted(cases), repository.__name__


async def in_each(cases, check):
    """Run a check of every method, in one database; a method that fails it does not keep the others from theirs."""
    wrong = {}
    for repository, method, case in cases:
        try:
            await check(repository, method, case)
        except AssertionError as exc:
            wrong[f"{repository.__name__}.{method}"] = str(exc)
    assert not wrong, "\n\n".join(f"{name}: {what}" for name, what in wrong.items())


async def world_with_external_id():
    """A world whose owner can also be found by an external id."""
    world = await make_world()
    await User.filter(id=world.owner).update(external_id=f"{world.owner}@example.org")
    return world


async def test_a_foreign_id_looks_like_a_missing_one_and_changes_nothing(store):
    # One world for all: what one method changed, it would show as that method's.
    world, stranger = await world_with_external_id(), await UserRepository().create()

    async def check(repository, method, case):
        theirs = repository().for_user(stranger.id)
        unknown = await outcome(case.call(theirs, world.unknown()))
        before = await contents()
        foreign = await outcome(case.call(theirs, world))
        assert await contents() == before
        assert foreign == unknown

    await in_each(owned_cases(), check)


@pytest.mark.without_log
async def test_the_owner_is_served_by_statements_that_name_the_user(store):
    async def check(repository, method, case):
        world = await world_with_external_id()
        with recorded() as sent:
            served = await outcome(case.call(repository().for_user(world.owner), world))
        unnamed = [sql for sql in sent if OWNED.search(sql) and "user_id" not in sql]
        assert not unnamed or case.job_side
        nobody = world.unknown()
        missing = await outcome(case.call(repository().for_user(nobody.owner), nobody))
        assert served != missing or case.same_for_all

    await in_each(owned_cases(), check)


async def test_a_deleted_user_is_nobody(store):
    async def check(repository, method, case):
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

    await in_each(owned_cases(), check)


@pytest.mark.without_log
@pytest.mark.large
async def test_a_method_costs_as_many_statements_as_it_says_whatever_the_number_of_rows(store):
    async def check(repository, method, case):
        counts = []
        for rows in (0, 300):
            world = await world_with_external_id()
            await fill(world, rows)
            with recorded() as sent:
                await outcome(case.call(repository(), world))
            counts.append(len(sent))
        assert counts[0] <= case.statements
        # An export reads in chunks; what is made by the first call is only read by the second.
        assert counts[1] <= counts[0] or method == "export"

    await in_each(all_cases(), check)


async def fill(world, rows):
    """More conversations and control sets of the same owner."""
    await insert_streams(world.owner, rows, name="'New Conversation (' || n || ')'", wdk_strategy_id="1000 + n")
    await User._meta.db.execute_rows(
        "INSERT INTO control_sets (id, user_id, name, site_id, record_type, tags, positive_ids) "
        "SELECT gen_random_uuid(), $1, 'n' || n, 'plasmodb', 'transcript', '[\"t\"]', '[\"g1\"]' "
        "FROM generate_series(1, $2::int) n",
        [world.owner, rows],
    )
