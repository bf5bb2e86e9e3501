"""``python -m tests.support.reachable URL``: exits with 0 when a server answers there."""

import asyncio
import sys

import asyncpg

from tests.support.servers import running_server


async def main(url: str) -> int:
    try:
        connection = await running_server(url).connect()
    except (OSError, asyncpg.PostgresError) as exc:
        sys.stderr.write(f"no server to test on: {type(exc).__name__}\n")
        return 1
    await connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
