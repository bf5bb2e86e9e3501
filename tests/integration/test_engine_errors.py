"""The error tree, by real errors of a real server; none shows what is stored, or a password."""

import asyncio
import contextlib
import logging
import traceback
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest
from tortoise.exceptions import IntegrityError
from tortoise.transactions import in_transaction

from tests.support import faults
from tests.support.opened import opened
from tests.support.servers import until
from veupath_store import (
    ControlSetRepository,
    StoreSettings,
    StreamRepository,
    UserRepository,
    async_session_factory,
    get_engine,
    init_db,
)
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

_SET = "INSERT INTO control_sets (id, name, site_id, record_type) VALUES (gen_random_uuid(), $1, 'plasmodb', 'gene')"
_USER = "INSERT INTO users (id) VALUES (gen_random_uuid())"
_OPERATION = "INSERT INTO operations (id, user_id, type, status) VALUES (gen_random_uuid(), $1, 'chat', 'wrong')"
_CASES = [
    # What is run, with which values, where "user" stands for an id; the error, and its SQLSTATE.
    ("INSERT INTO users (id) VALUES ($1)", ["user"], ConflictError, "23505"),
    ("INSERT INTO streams (id, user_id, site_id) VALUES ($1, $2, 'x')", [uuid4(), uuid4()], NotFoundError, "23503"),
    (_SET, [None], InvalidInputError, "23502"),
    (_OPERATION, ["user"], InvalidInputError, "23514"),
    (_SET, ["x" * 300], InvalidInputError, "22001"),
    ("SELECT 1 / 0", [], InvalidInputError, "22012"),
    ("SELECT 'x'::text::integer", [], InvalidInputError, "22P02"),
    ("SELECT $1::int", ["no number"], InvalidInputError, "22000"),
    ("SELECT * FROM nowhere", [], SchemaError, "42P01"),
    ("SELECT nothing FROM users", [], SchemaError, "42703"),
    ("SELEKT 1", [], InternalError, "42601"),
    ("SET LOCAL statement_timeout = 20; SELECT pg_sleep(30)", [], UnavailableError, "57014"),
    (f"SET TRANSACTION READ ONLY; {_USER}", [], UnavailableError, "25006"),
    ("SELECT $1::int", [1, 2], InternalError, None),
]


async def _run(sql: str, values: list | None = None) -> None:
    async with async_session_factory() as session:
        for statement in sql.split("; "):
            await session.client.execute_query(statement, values)


async def test_a_driver_error_becomes_one_store_error_with_the_driver_s_as_its_cause(user):
    # One database for all of them: that each leaves the store as it was is part of the test.
    for sql, values, *expected in _CASES:
        with pytest.raises(StoreError) as caught:
            await _run(sql, [user.id if it == "user" else it for it in values])
        assert [type(caught.value), getattr(caught.value.__cause__, "sqlstate", None)] == expected
        assert type(caught.value.__cause__).__module__.startswith("asyncpg"), expected
    with pytest.raises(SwallowedErrorError) as caught:
        async with async_session_factory() as session:
            with contextlib.suppress(InvalidInputError):
                await session.client.execute_rows("SELECT 1 / 0")
            await session.client.execute_rows("SELECT 1")
    assert caught.value.__cause__.sqlstate == "25P02"
    await faults.assert_pool_complete()


async def test_the_violated_constraint_the_column_and_the_missing_entity_are_named(user):
    with pytest.raises(ConflictError) as conflict:
        await User.create(id=user.id)
    assert conflict.value.constraint == "users_pkey"
    with pytest.raises(NotFoundError) as missing:
        await StreamRepository().create(uuid4(), "plasmodb")
    assert (missing.value.entity, missing.value.constraint) == ("user", "streams_user_fkey")
    with pytest.raises(InvalidInputError) as null:
        await _run(_SET, [None])
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
    writing = "INSERT INTO users (id) SELECT gen_random_uuid() FROM pg_sleep(30)"
    async with opened(database_url, command_timeout=0.1) as client:
        for run, sql, error in (
            (client.execute_query, writing, OutcomeUnknownError),
            (client.execute_query, "SELECT pg_sleep(30)", UnavailableError),
            (_run, writing, UnavailableError),
        ):
            with pytest.raises(error, match="command timeout"):
                await run(sql)


async def test_a_refused_privilege_is_a_matter_of_configuration(store):
    with pytest.raises(ConfigurationError, match="42501"):
        await _run("SET LOCAL ROLE pg_read_all_stats; SELECT * FROM users")


async def test_get_or_create_of_tortoise_catches_a_conflict_by_its_type_also_inside_a_transaction(store):
    async def visit() -> tuple[User, bool]:
        return await User.get_or_create(external_id="ada", defaults={"id": uuid4()})

    assert sum(created for _, created in await asyncio.gather(*(visit() for _ in range(20)))) == 1
    assert issubclass(ConflictError, IntegrityError)
    await User.all().delete()
    async with in_transaction("default"):
        (first, _), (second, created) = await visit(), await visit()
    assert (first.id, created) == (second.id, False)


async def test_execute_query_returns_the_rows_of_returning_and_the_count_of_an_insert(user):
    client = await get_engine().open()
    insert = "INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, 3)"
    assert await client.execute_query(insert) == (3, [])
    count, rows = await client.execute_query(f"{insert} RETURNING id")
    assert count == len(rows) == 3
    assert await client.execute_query("UPDATE users SET external_id = NULL WHERE id = $1", [user.id]) == (1, [])
    assert (await client.execute_query("SELECT 1 AS one"))[1] == [(1,)]


async def test_execute_many_saves_all_or_nothing_in_autocommit(user, watcher):
    client = await get_engine().open()
    rows = [[uuid4()], [uuid4()], [user.id]]
    with pytest.raises(ConflictError):
        await client.execute_many("INSERT INTO users (id) VALUES ($1)", rows)
    assert await watcher.fetchval("SELECT count(*) FROM users") == 1


# No error, no cause and no log line shows what is stored, or a password.


SECRET = "qfzzvxkw-stored-by-a-patient"
SECRET_ID = UUID("5ec2e75e-c2e7-4ec2-a75e-c2e75ec2e75e")


@pytest.fixture
def logs(caplog):
    """Everything that every logger says, at DEBUG."""
    for name in [None, *logging.root.manager.loggerDict]:
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def shown(error: BaseException) -> str:
    """All that a log with a traceback would show of an error, its causes and contexts."""
    return "".join(traceback.format_exception(error, limit=0)) + repr(error) + repr(error.__cause__)


_REFUSED = [
    ("INSERT INTO users (id, external_id) VALUES (gen_random_uuid(), $1)", SECRET * 20),
    ("INSERT INTO users (id, created_at) VALUES (gen_random_uuid(), $1)", SECRET),
    ("SELECT * FROM users WHERE id = $1", SECRET),
    ("SELECT $1::text::int", SECRET),
    ("SELECT $1::text::jsonb", f"{{{SECRET}"),
    ("INSERT INTO users (id, external_id) VALUES (NULL, $1)", SECRET),
]


async def _refused(sql: str, value: str) -> None:
    async with async_session_factory() as session:
        await session.client.execute_query(sql, [value])


async def test_neither_errors_nor_debug_logs_show_a_stored_value(store, watcher, logs):
    await faults.check_at_commit(watcher)
    await UserRepository().create(SECRET)
    for provoke, expected in (
        (partial(UserRepository().create, SECRET), ConflictError),
        (partial(UserRepository().create, f"refused {SECRET}"), ConflictError),
        (partial(StreamRepository().create, SECRET_ID, "plasmodb", name=SECRET), NotFoundError),
        *((partial(_refused, sql, value), InvalidInputError) for sql, value in _REFUSED),
    ):
        with pytest.raises(StoreError) as caught:
            await provoke()
        assert type(caught.value) is expected
        assert caught.value.__cause__ is not None
        assert SECRET not in shown(caught.value)
        assert str(SECRET_ID) not in shown(caught.value)
    await ControlSetRepository().create(
        name=SECRET, site_id="plasmodb", record_type="gene", positive_ids=[SECRET], negative_ids=[]
    )
    await User.filter(external_id=SECRET).first()
    with pytest.raises(UnavailableError):
        async with async_session_factory() as session, session.savepoint():
            await User.create(id=SECRET_ID, external_id=f"{SECRET} 2", using_db=session.client)
            await faults.kill_backends(watcher)
            await UserRepository(session).create(f"{SECRET} 3")
    assert "INSERT INTO" in logs.text, "statements are logged, or nothing was tested"
    assert SECRET not in logs.text
    assert str(SECRET_ID) not in logs.text


async def test_neither_errors_nor_debug_logs_show_the_password(logs):
    password = "hunter2-of-the-database"
    wrong = StoreSettings(database_url=f"postgresql://postgres:{password}@127.0.0.1:9/store")
    with pytest.raises(UnavailableError) as caught:
        await init_db(settings=wrong)
    assert password not in shown(caught.value) + repr(wrong) + str(wrong.tortoise_orm()) + repr(wrong.target)
    assert password not in logs.text


async def test_a_refused_role_shows_its_name_at_most(server, logs):
    target = server.target
    host, port = target.hosts[0]
    where = f"@/nowhere?host={host}" if host.startswith("/") else f"@{host}:{port}/nowhere"
    with pytest.raises(StoreError) as caught:
        await init_db(settings=StoreSettings(database_url=f"postgresql://nobody:{SECRET}{where}"))
    assert SECRET not in shown(caught.value) + logs.text
