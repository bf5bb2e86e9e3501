"""What fault tests ask of the store and of the server, and what they do to backends."""

import asyncio
import os
import signal
from contextlib import contextmanager

from tests.support.apart import run_apart
from tests.support.servers import Server, new_name, running_server, until
from veupath_store.servers.database_url import parse_database_url
from veupath_store.session import get_engine

_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_BACKENDS = f"{_OTHERS} AND backend_type = 'client backend'"


async def watcher(url: str):
    """A connection of one's own to the same database, beside the store."""
    return await running_server(url).connect(parse_database_url(url).database)


def make_template(server: Server, make_store) -> str:
    """A migrated, empty database on a server of one's own."""
    name = new_name()
    run_apart(server.create(name))
    run_apart(make_store(server.url(name)))
    return name


async def emptied(url: str) -> str:
    """A shared database without rows, and without backends that an earlier test left to die."""
    connection = await watcher(url)
    await kill_backends(connection)
    await nobody_connected(connection)
    await connection.execute(
        "DROP FUNCTION IF EXISTS at_commit CASCADE; "
        "DELETE FROM users; DELETE FROM control_sets; DELETE FROM deleted_ids"
    )
    await connection.close()
    return url


async def pids(connection) -> list[int]:
    """The process ids of the other backends on this database."""
    return [row["pid"] for row in await connection.fetch(f"SELECT pid {_BACKENDS}")]


async def idle_in_transaction(connection) -> int:
    """How many other backends sit in a transaction."""
    return await connection.fetchval(f"SELECT count(*) {_BACKENDS} AND state LIKE 'idle in transaction%'")


async def nobody_connected(connection) -> None:
    """Wait until no other backend is on this database."""
    await _none(pids, connection, "no connection is left")


async def nobody_in_transaction(connection) -> None:
    """Wait until no other backend sits in a transaction."""
    await _none(idle_in_transaction, connection, "no backend is idle in a transaction")


async def _none(look, connection, what: str) -> None:
    async def none() -> bool:
        return not await look(connection)

    await until(none, within=15, what=what)


async def logins(connection) -> list[str]:
    """The users' external ids, in order."""
    return [row["external_id"] for row in await connection.fetch("SELECT external_id FROM users ORDER BY 1")]


async def kill_backends(connection) -> int:
    """End every other backend on this database and wait until they are gone; how many there were."""
    return await connection.fetchval(f"SELECT count(pg_terminate_backend(pid, 10000)) {_BACKENDS}")


async def client_pid(client) -> int:
    """The backend behind a client or transaction."""
    return (await client.execute_rows("SELECT pg_backend_pid() AS pid"))[0]["pid"]


async def acquire_all(client) -> None:
    """Acquire every connection of the pool at once and release it: what leaks or hangs is missing here."""
    connections = await asyncio.gather(*(client.acquire() for _ in range(client.settings.pool_max_size)))
    await asyncio.gather(*(client.release(connection) for connection in connections))


async def assert_pool_complete() -> None:
    """All of the pool can be acquired at once, and before a call gives up on a connection."""
    async with asyncio.timeout(9):
        await acquire_all(await get_engine().open())


@contextmanager
def frozen(processes: list[int]):
    """Backends that are alive and do nothing, as behind a dead network or a full disk."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


async def check_at_commit(connection) -> None:
    """Let COMMIT fail for a user named ``refused…``, and take its time for one named ``slow…``."""
    await connection.execute("""
        CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.external_id LIKE 'slow%' THEN PERFORM pg_sleep(30); END IF;
            IF NEW.external_id LIKE 'refused%' THEN
                RAISE EXCEPTION 'refused %', NEW.external_id
                USING ERRCODE = 'unique_violation', CONSTRAINT = 'users_at_commit', DETAIL = NEW.external_id;
            END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER users_at_commit AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION at_commit();
    """)


async def committing(connection) -> bool:
    """Whether some other backend is in the middle of COMMIT."""
    return await connection.fetchval(f"SELECT count(*) {_BACKENDS} AND state = 'active' AND query LIKE 'COMMIT%'") > 0
