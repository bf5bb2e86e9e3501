"""What the figures were measured on."""

import os
import platform
from datetime import UTC, datetime

import asyncpg


async def described(connection: asyncpg.Connection) -> str:
    """The machine and the versions, in a line."""
    version = await connection.fetchval("SELECT current_setting('server_version')")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    day = datetime.now(UTC).date().isoformat()
    return (
        f"{cores} cores ({platform.machine()}, {platform.system()}) for the server and its callers alike, "
        f"PostgreSQL {str(version).split()[0]}, Python {platform.python_version()}, {day}"
    )
