"""`migrate` where somebody else is at work, or was: on sequences, indexes, tables and the lock."""

import asyncio

import pytest

from tests.support.checkout import add_to_catalog, write_migration
from tests.support.databases import connected, recorded
from tests.support.migrating import idle_in_transaction, upstream, write_index
from tests.support.roles import role
from tests.support.servers import until
from veupath_store.config import StoreSettings
from veupath_store.errors import SchemaError, UnavailableError
from veupath_store.schema.lock import ADVISORY_LOCK, locked_orm, under_lock
from veupath_store.schema.migrations import migrate, migration_files

ADD = "ALTER TABLE users ADD more int"


@pytest.fixture
def impatient(database_url):
    return StoreSettings(database_url=database_url, migration_lock_timeout=0.2, migration_attempts=2)


async def aerich_upgrade(settings):
    """`aerich upgrade` in this process: the same configuration, the same calls."""
    async with upstream(locked_orm(settings.for_migrations())) as command:
        return await command.upgrade()


@pytest.mark.parametrize("upgrade", [migrate, aerich_upgrade])
@pytest.mark.parametrize("sequence", ["setval('aerich_id_seq', 1, false)", "setval('aerich_id_seq', 1)"])
async def test_a_sequence_that_is_behind_its_table_is_put_right(upgrade, sequence, impatient, database_url, scratch):
    """As after a switchover by logical replication, which does not copy sequences."""
    write_migration(scratch, "96_more", ADD)
    async with connected(database_url) as connection:
        await connection.execute(f"SELECT {sequence}")
        assert await upgrade(impatient) == ["96_more.py"]
        assert await recorded(database_url) == migration_files()
        assert await connection.fetchval("SELECT last_value = max(id) FROM aerich_id_seq, aerich GROUP BY last_value")


async def test_a_sequence_that_is_ahead_of_its_table_stays_as_it_is(impatient, database_url):
    async with connected(database_url) as connection:
        await connection.execute("SELECT setval('aerich_id_seq', 70)")
        assert await migrate(impatient) == []
        assert await connection.fetchval("SELECT last_value FROM aerich_id_seq") == 70


async def test_the_lock_stays_when_a_migration_changed_its_session_and_that_is_put_back(impatient, database_url):
    async with connected(database_url) as other:

        async def work(client):
            for _ in range(2):
                await client.execute_script("SET statement_timeout = '7s'; SELECT pg_advisory_lock(7)")
                assert not await other.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK)
                (row,) = await client.execute_rows("SHOW statement_timeout")
                assert row["statement_timeout"] == "1d"
            return True

        assert await under_lock(impatient.for_migrations(), work)
        assert await other.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK), "free when the work is done"


async def test_a_connection_that_is_lost_loses_the_lock_and_the_next_takes_it_again(impatient, database_url):
    pids = []
    async with connected(database_url) as other:

        async def work(client):
            pids.append((await client.execute_rows("SELECT pg_backend_pid() AS pid"))[0]["pid"])
            holder = await other.fetchval("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")
            assert holder == pids[-1]
            if len(pids) == 1:
                await client.execute_rows("SELECT pg_terminate_backend(pg_backend_pid())")
            return len(pids)

        assert await under_lock(impatient.for_migrations(), work) == 2


async def test_an_invalid_index_of_somebody_else_is_not_judged_and_one_of_the_store_is(
    impatient, database_url, scratch
):
    async with connected(database_url) as connection:
        await connection.execute("""
            INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, 2);
            CREATE TABLE theirs AS SELECT 1 AS same FROM users;
        """)
        for statement in ("theirs_key ON theirs (same)", "reports_key ON users ((1))"):
            with pytest.raises(Exception, match="could not create unique index"):
                await connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {statement}")
    write_migration(scratch, "96_more", ADD)
    assert await migrate(impatient) == ["96_more.py"]
    add_to_catalog(scratch, "index reports_key")
    with pytest.raises(SchemaError, match=r"^Invalid indexes, .*: reports_key\. The migrations themselves are applied"):
        await migrate(impatient)


async def test_beside_an_index_that_somebody_else_is_building(impatient, database_url, scratch):
    write_migration(scratch, "96_more", "ALTER TABLE experiments ADD more int")
    write_index(scratch, "97_index")
    async with connected(database_url) as builder, connected(database_url) as observer:
        async with idle_in_transaction(database_url):
            theirs = builder.execute("CREATE INDEX CONCURRENTLY theirs_idx ON streams (created_at)")
            building, pid = asyncio.create_task(theirs), builder.get_server_pid()
            waits = "SELECT wait_event = 'virtualxid' FROM pg_stat_activity WHERE pid = $1"
            await until(lambda: observer.fetchval(waits, pid), 30, "the index waits for the old transaction")
            # What needs no snapshot to end is done beside it; what does, says whom it waits for.
            with pytest.raises(UnavailableError, match=r"In its way: .*\(nightly report\), in a transaction"):
                await migrate(impatient)
            assert await recorded(database_url) == migration_files()[:-1]
        await building
    assert await migrate(impatient) == ["97_index.py"]


@pytest.mark.parametrize("in_transaction", [True, False], ids=["a table's lock", "an index built concurrently"])
async def test_what_stands_in_the_way_is_named_without_what_it_runs(in_transaction, impatient, database_url, scratch):
    if in_transaction:
        write_migration(scratch, "96_more", ADD)
    else:
        write_index(scratch, "96_index")
    async with idle_in_transaction(database_url, "SELECT 'sandwich' FROM users", "SELECT 1 FROM streams") as reader:
        began = await reader.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')")
        with pytest.raises(UnavailableError) as caught:
            await migrate(impatient)
        process = reader.get_server_pid()
        expected = (
            f"In its way: streams, users are locked by process {process} (nightly report), in a transaction since "
            f"{began} UTC: end it, as by SELECT pg_terminate_backend({process})"
        )
        assert str(caught.value).endswith(expected)
        assert "a lock was not free within the lock timeout" in str(caught.value)
        assert "sandwich" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert len(await migrate(impatient)) == 1


async def test_a_role_that_may_not_look_at_others_is_told_what_it_may_see(empty_url, scratch):
    """Not since when, and not what for."""
    async with role(empty_url, "GRANT CREATE ON SCHEMA public TO {role}") as (_, url):
        settings = StoreSettings(database_url=url, migration_lock_timeout=0.2, migration_attempts=1)
        await migrate(settings)
        write_migration(scratch, "96_more", ADD)
        async with idle_in_transaction(empty_url) as reader:
            with pytest.raises(UnavailableError) as caught:
                await migrate(settings)
            process = f"process {reader.get_server_pid()} (nightly report)"
            assert f"In its way: users is locked by {process}, in a transaction since unknown: end" in str(caught.value)


@pytest.fixture
async def replicating(private_server):
    """A server with logical replication and prepared transactions."""
    settings = {"wal_level": "logical", "max_prepared_transactions": "4"}
    await private_server.server.run(*(f"ALTER SYSTEM SET {name} = {value!r}" for name, value in settings.items()))
    private_server.crash()
    private_server.start()
    yield private_server.server
    await private_server.server.run(*(f"ALTER SYSTEM RESET {name}" for name in settings))


@pytest.mark.large
async def test_after_a_switchover_by_logical_replication(replicating, scratch):
    server = replicating
    async with server.database() as before, server.database() as after, connected(after) as new:
        for url in (before, after):
            await migrate(StoreSettings(database_url=url))
        # As of a restored `pg_dump --schema-only`: no row, and new sequences.
        await new.execute("TRUNCATE aerich RESTART IDENTITY")
        async with connected(before) as old:
            await old.execute("INSERT INTO users (id) VALUES (gen_random_uuid())")
            await old.execute("CREATE PUBLICATION everything FOR ALL TABLES")
            slot = f"slot_{old.get_server_pid()}"
            await old.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
            name = await old.fetchval("SELECT current_database()")
            host = server.target.hosts[0][0]
            await new.execute(
                f"CREATE SUBSCRIPTION from_before CONNECTION 'dbname={name} host={host} user={server.target.user}'"
                f" PUBLICATION everything WITH (create_slot = false, slot_name = '{slot}')"
            )
            copied = "SELECT (SELECT count(*) FROM aerich) = $1 AND (SELECT count(*) FROM users) = 1"
            await until(lambda: new.fetchval(copied, len(migration_files())), 60, "the rows are there")
            for what in ("ALTER {} DISABLE", "ALTER {} SET (slot_name = NONE)", "DROP {}"):
                await new.execute(what.format("SUBSCRIPTION from_before"))
            free = "SELECT NOT bool_or(active) FROM pg_replication_slots"
            await until(lambda: old.fetchval(free), 30, "the slot is free")
            await old.execute(f"SELECT pg_drop_replication_slot('{slot}')")
        assert not await new.fetchval("SELECT is_called FROM aerich_id_seq"), "the sequence is not copied"
        write_migration(scratch, "96_more", ADD)
        assert await migrate(StoreSettings(database_url=after)) == ["96_more.py"]
        assert await recorded(after) == migration_files()


@pytest.mark.large
async def test_a_prepared_transaction_in_the_way_is_named_by_its_id(replicating, scratch):
    """It has no process, and stays for as long as nobody ends it."""
    async with replicating.database() as url, connected(url) as connection:
        settings = StoreSettings(database_url=url, migration_lock_timeout=0.2, migration_attempts=1)
        await migrate(settings)
        write_migration(scratch, "96_more", ADD)
        await connection.execute("BEGIN; LOCK TABLE users IN ACCESS SHARE MODE; PREPARE TRANSACTION 'forgotten'")
        with pytest.raises(UnavailableError, match=r"way: transaction 'forgotten', prepared, not committed, since 2"):
            await migrate(settings)
        await connection.execute("ROLLBACK PREPARED 'forgotten'")
        assert await migrate(settings) == ["96_more.py"]
