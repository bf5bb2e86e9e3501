"""The error tree, by real errors of a real server."""

import asyncio
import contextlib
from uuid import uuid4

import asyncpg
import pytest
from tortoise.exceptions import IntegrityError
from tortoise.transactions import in_transaction

from tests.support import faults
from tests.support.servers import until
from veupath_store import StoreSettings, StreamRepository, UserRepository, async_session_factory, close_db, init_db
from veupath_store.errors import (
    ConfigurationError,
    ConflictError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    SchemaError,
    StoreError,
    SwallowedErrorError,
    UnavailableError,
)
from veupath_store.models import User

INSERT = "INSERT INTO control_sets (id, name, site_id, record_type) VALUES ($1, $2, $3, $4)"


async def _run(sql: str, values: list | None = None) -> None:
    async with async_session_factory() as session:
        await session.client.execute_query(sql, values)


async def _unique(user) -> None:
    await User.create(id=user.id)


async def _foreign_key(user) -> None:
    await StreamRepository().create(uuid4(), "plasmodb")


async def _not_null(user) -> None:
    await _run(INSERT, [uuid4(), None, "plasmodb", "gene"])


async def _check(user) -> None:
    await _run(
        "INSERT INTO operations (id, user_id, type, status) VALUES ($1, $2, 'chat', 'wrong')", [uuid4(), user.id]
    )


async def _too_long(user) -> None:
    await _run(INSERT, [uuid4(), "x" * 300, "plasmodb", "gene"])


async def _division(user) -> None:
    await _run("SELECT 1 / 0")


async def _bad_text(user) -> None:
    await _run("SELECT 'x'::text::integer")


async def _bad_argument(user) -> None:
    await _run("SELECT $1::int", ["no number"])


async def _no_table(user) -> None:
    await _run("SELECT * FROM nowhere")


async def _no_column(user) -> None:
    await _run("SELECT nothing FROM users")


async def _syntax(user) -> None:
    await _run("SELEKT 1")


async def _statement_timeout(user) -> None:
    async with async_session_factory() as session:
        await session.client.execute_script("SET LOCAL statement_timeout = 20")
        await session.client.execute_rows("SELECT pg_sleep(30)")


async def _read_only(user) -> None:
    async with async_session_factory() as session:
        await session.client.execute_script("SET TRANSACTION READ ONLY")
        await UserRepository(session).create()


async def _failed_transaction(user) -> None:
    async with async_session_factory() as session:
        with contextlib.suppress(InvalidInputError):
            await session.client.execute_rows("SELECT 1 / 0")
        await session.client.execute_rows("SELECT 1")


async def _wrong_number_of_arguments(user) -> None:
    await _run("SELECT $1::int", [1, 2])


_CASES = [
    (_unique, ConflictError, "23505"),
    (_foreign_key, NotFoundError, "23503"),
    (_not_null, InvalidInputError, "23502"),
    (_check, InvalidInputError, "23514"),
    (_too_long, InvalidInputError, "22001"),
    (_division, InvalidInputError, "22012"),
    (_bad_text, InvalidInputError, "22P02"),
    (_bad_argument, InvalidInputError, "22000"),
    (_no_table, SchemaError, "42P01"),
    (_no_column, SchemaError, "42703"),
    (_syntax, InternalError, "42601"),
    (_statement_timeout, UnavailableError, "57014"),
    (_read_only, UnavailableError, "25006"),
    (_failed_transaction, SwallowedErrorError, "25P02"),
    (_wrong_number_of_arguments, InternalError, None),
]


async def test_a_driver_error_becomes_one_store_error_with_the_driver_s_as_its_cause(user):
    # One database for all of them: that each leaves the store as it was is part of the test.
    for provoke, expected, sqlstate in _CASES:
        with pytest.raises(StoreError) as caught:
            await provoke(user)
        seen = (type(caught.value), getattr(caught.value.__cause__, "sqlstate", None))
        assert seen == (expected, sqlstate), provoke.__name__
        assert type(caught.value.__cause__).__module__.startswith("asyncpg"), provoke.__name__
    await faults.assert_pool_complete()


async def test_the_violated_constraint_the_column_and_the_missing_entity_are_named(user):
    with pytest.raises(ConflictError) as conflict:
        await _unique(user)
    assert conflict.value.constraint == "users_pkey"
    with pytest.raises(NotFoundError) as missing:
        await _foreign_key(user)
    assert (missing.value.entity, missing.value.constraint) == ("user", "streams_user_fkey")
    with pytest.raises(InvalidInputError) as null:
        await _not_null(user)
    assert null.value.path == "name"


async def test_a_backend_that_is_told_to_stop_in_a_transaction_is_unavailable(store):
    with pytest.raises(UnavailableError) as caught:
        await _run("SELECT pg_terminate_backend(pg_backend_pid())")
    # The server's own word, or asyncpg's where the connection ends before that is read.
    assert caught.value.__cause__.sqlstate in ("57P01", "08003")


async def test_concurrent_serializable_transactions_are_told_to_retry(user, watcher):
    async def add() -> None:
        async with async_session_factory() as session:
            await session.client.execute_script("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            await session.client.execute_rows("SELECT count(*) FROM users")
            await both.wait()
            await UserRepository(session).create()

    both = asyncio.Barrier(2)
    errors = [e for e in await asyncio.gather(add(), add(), return_exceptions=True) if e]
    assert [(type(error), error.__cause__.sqlstate) for error in errors] == [(UnavailableError, "40001")]
    assert await watcher.fetchval("SELECT count(*) FROM users") == 2


async def test_the_victim_of_a_deadlock_is_told_to_retry(user, stranger):
    async def rename(first, second) -> None:
        async with async_session_factory() as session:
            await User.filter(id=first.id).using_db(session.client).update(external_id=str(first.id))
            await both.wait()
            await User.filter(id=second.id).using_db(session.client).update(external_id=str(second.id))

    both = asyncio.Barrier(2)
    results = await asyncio.gather(rename(user, stranger), rename(stranger, user), return_exceptions=True)
    errors = [error for error in results if error]
    assert [(type(error), error.__cause__.sqlstate) for error in errors] == [(UnavailableError, "40P01")]


async def test_a_lock_that_is_not_free_in_time_is_unavailable(user):
    async with async_session_factory() as holder:
        await User.filter(id=user.id).using_db(holder.client).update(external_id="held")
        with pytest.raises(UnavailableError) as caught:
            async with async_session_factory() as session:
                await session.client.execute_script("SET LOCAL lock_timeout = 20")
                await User.filter(id=user.id).using_db(session.client).update(external_id="wanted")
    assert caught.value.__cause__.sqlstate == "55P03"


async def test_an_error_raised_by_commit_is_translated(store, watcher):
    await faults.check_at_commit(watcher)
    with pytest.raises(ConflictError) as caught:
        async with async_session_factory() as session:
            await UserRepository(session).create("refused")
    assert caught.value.constraint == "users_at_commit"
    assert isinstance(caught.value.__cause__, asyncpg.UniqueViolationError)
    await faults.assert_pool_complete()


@pytest.mark.own_database
async def test_a_deferred_foreign_key_is_translated_at_commit(store, watcher):
    await watcher.execute("ALTER TABLE streams ALTER CONSTRAINT streams_user_fkey DEFERRABLE INITIALLY DEFERRED")
    with pytest.raises(NotFoundError, match="No such user"):
        async with async_session_factory() as session:
            await StreamRepository(session).create(uuid4(), "plasmodb")


_SLOW = {
    "SELECT pg_sleep(30)": UnavailableError,
    "INSERT INTO users (id) SELECT gen_random_uuid() FROM pg_sleep(30)": OutcomeUnknownError,
    "WITH slow AS (SELECT pg_sleep(30)) DELETE FROM users USING slow": OutcomeUnknownError,
    "DO 'BEGIN PERFORM pg_sleep(30); END'": OutcomeUnknownError,
    "CREATE TABLE slow AS SELECT 1 AS one FROM pg_sleep(30)": OutcomeUnknownError,
}


async def test_a_backend_killed_in_autocommit_leaves_a_write_unknown_and_a_read_unavailable(store, watcher):
    client = await store.open()

    async def all_run() -> bool:
        running = await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query = ANY($1)", list(_SLOW))
        return running == len(_SLOW)

    tasks = [asyncio.create_task(client.execute_query(sql)) for sql in _SLOW]
    await until(all_run, within=15, what="the statements run")
    await faults.kill_backends(watcher)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {sql: type(result) for sql, result in zip(_SLOW, results, strict=True)} == _SLOW


async def test_no_answer_within_the_command_timeout_leaves_a_write_unknown(database_url):
    await init_db(settings=StoreSettings(database_url=database_url, command_timeout=0.1))
    client = await (await init_db()).open()
    with pytest.raises(OutcomeUnknownError, match="command timeout"):
        await client.execute_query("INSERT INTO users (id) SELECT gen_random_uuid() FROM pg_sleep(30)")
    with pytest.raises(UnavailableError, match="command timeout"):
        await client.execute_query("SELECT pg_sleep(30)")
    with pytest.raises(UnavailableError, match="command timeout"):
        await _run("INSERT INTO users (id) SELECT gen_random_uuid() FROM pg_sleep(30)")
    await close_db()


async def test_a_refused_privilege_is_a_matter_of_configuration(store):
    with pytest.raises(ConfigurationError, match="42501"):
        async with async_session_factory() as session:
            await session.client.execute_script("SET LOCAL ROLE pg_read_all_stats")
            await session.client.execute_rows("SELECT * FROM users")


async def test_get_or_create_of_tortoise_catches_a_conflict_by_its_type(store):
    async def visit() -> bool:
        _, created = await User.get_or_create(external_id="ada", defaults={"id": uuid4()})
        return created

    made = await asyncio.gather(*(visit() for _ in range(20)))
    assert sum(made) == 1
    assert issubclass(ConflictError, IntegrityError)


async def test_get_or_create_of_tortoise_works_inside_a_transaction(store):
    async with in_transaction("default"):
        first, _ = await User.get_or_create(external_id="ada", defaults={"id": uuid4()})
        second, created = await User.get_or_create(external_id="ada", defaults={"id": uuid4()})
    assert (first.id, created) == (second.id, False)


async def test_execute_query_returns_the_rows_of_returning_and_the_count_of_an_insert(user):
    client = await (await init_db()).open()
    insert = "INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, 3)"
    assert await client.execute_query(insert) == (3, [])
    count, rows = await client.execute_query(f"{insert} RETURNING id")
    assert count == len(rows) == 3
    assert await client.execute_query("UPDATE users SET external_id = NULL WHERE id = $1", [user.id]) == (1, [])
    assert (await client.execute_query("SELECT 1 AS one"))[1] == [(1,)]


async def test_execute_many_saves_all_or_nothing_in_autocommit(user, watcher):
    client = await (await init_db()).open()
    rows = [[uuid4()], [uuid4()], [user.id]]
    with pytest.raises(ConflictError):
        await client.execute_many("INSERT INTO users (id) VALUES ($1)", rows)
    assert await watcher.fetchval("SELECT count(*) FROM users") == 1
