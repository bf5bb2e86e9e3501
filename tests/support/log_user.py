"""``python -m tests.support.log_user URL STREAM_ID FILE``: appends to a log, then stays until the file is there.

Prints the process id of the Redis, and how many entries the log has.
"""

import asyncio
import sys
from pathlib import Path
from uuid import UUID

from tests.support.redis_servers import client
from tests.support.servers import until
from veupath_store.config import StoreSettings
from veupath_store.events.embedded import join_embedded
from veupath_store.events.entries import Event
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog
from veupath_store.redis_url import parse_redis_url


async def main(url: str, stream_id: str, file: str) -> None:
    log = EventLog(StoreSettings(database_url="postgresql://nowhere/store", redis_url=url))
    key = LogKey.stream(UUID(stream_id))
    await log.append(key, [Event(type="user_message", data={})], new=True)
    entries = await log.read(key, count=1_000)
    directory = parse_redis_url(url).embedded
    assert directory is not None
    with client(f"unix://{join_embedded(directory)}") as beside:
        sys.stdout.write(f"{beside.info('server')['process_id']} {len(entries)}\n")
    sys.stdout.flush()

    async def told_to_end() -> bool:
        return await asyncio.to_thread(Path(file).exists)

    await until(told_to_end, within=60, what="the file is there")
    await log.ping()
    await log.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
