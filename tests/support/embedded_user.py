"""``python -m tests.support.embedded_user KIND DIRECTORY FILE [forking]``: uses a server until the file is there.

Adds an entry and prints the process id of the server, and how many entries there are. With ``forking`` a child is
forked then, and its id is printed; it does nothing, and outlives this process.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import asyncpg

from veupath_store.servers.database_url import DatabaseTarget
from veupath_store.servers.embedded import start_embedded
from veupath_store.servers.redis import join_embedded


async def use_postgres(directory: Path) -> tuple[int, int]:
    target = start_embedded(DatabaseTarget(user="postgres", embedded=directory))
    [(host, port)] = target.hosts
    connection = await asyncpg.connect(host=host, port=port, user="postgres", database="postgres")
    try:
        await connection.execute(
            "SELECT pg_advisory_xact_lock(1); CREATE TABLE IF NOT EXISTS entries (); INSERT INTO entries DEFAULT VALUES"
        )
        entries = await connection.fetchval("SELECT count(*) FROM entries")
    finally:
        await connection.close()
    return int((directory / "postmaster.pid").read_bytes().splitlines()[0]), entries


async def use_redis(directory: Path) -> tuple[int, int]:
    reader, writer = await asyncio.open_unix_connection(join_embedded(directory))
    writer.write(b"XADD entries * a b\r\nXLEN entries\r\nINFO server\r\nPING\r\n")
    answer = await reader.readuntil(b"+PONG")
    writer.close()
    await writer.wait_closed()
    lines = answer.decode().splitlines()
    pid = next(line for line in lines if line.startswith("process_id:")).removeprefix("process_id:")
    return int(pid), int(next(line for line in lines if line.startswith(":"))[1:])


def main(kind: str, directory: str, file: str, how: str = "") -> None:
    use = {"postgres": use_postgres, "redis": use_redis}[kind]
    server, entries = asyncio.run(use(Path(directory)))
    child = ""
    if how == "forking" and not (child := os.fork()):
        os.close(1)  # or else the test would wait for the end of the output
        os.close(2)
        time.sleep(60)
        os._exit(0)
    sys.stdout.write(f"{server} {entries} {child}\n")
    sys.stdout.flush()
    deadline = time.monotonic() + 60
    while not Path(file).exists():
        if time.monotonic() > deadline:
            sys.exit("the file did not come")
        time.sleep(0.01)
    if how == "again":
        asyncio.run(use(Path(directory)))


if __name__ == "__main__":
    main(*sys.argv[1:])
