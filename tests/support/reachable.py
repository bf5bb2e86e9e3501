"""``python -m tests.support.reachable URL``: exits with 0 when a server answers there, PostgreSQL or Redis."""

import asyncio
import sys

import asyncpg
import redis

from tests.support import redis_servers
from tests.support.servers import running_server


async def main(url: str) -> int:
    try:
        if url.startswith("redis"):
            with redis_servers.client(url) as client:
                client.ping()
        else:
            connection = await running_server(url).connect()
            await connection.close()
    except (OSError, asyncpg.PostgresError, redis.RedisError) as exc:
        sys.stderr.write(f"no server to test on: {type(exc).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
