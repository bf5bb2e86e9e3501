"""Removing what a test left in the event log's server, which others may use as well and which is never flushed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from veupath_store.events.log.client import RedisClient
from veupath_store.servers.redis_url import parse_redis_url

_PATIENCE = 10.0


def forget_log(url: str, prefix: str) -> None:
    """Remove all keys that begin with a prefix. Blocks; a separate thread does it.

    Args:
        url: The URL of the event log.
        prefix: What the test's keys begin with.
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(_remove(RedisClient(parse_redis_url(url), _PATIENCE), prefix))).result()


async def _remove(client: RedisClient, prefix: str) -> None:
    cursor = None
    while cursor != 0:
        [[after, names]] = await client.run([("SCAN", cursor or 0, "MATCH", f"{prefix}*", "COUNT", 1_000)])
        if names:
            await client.run([("UNLINK", *names)])
        cursor = int(after)
    await client.close()
