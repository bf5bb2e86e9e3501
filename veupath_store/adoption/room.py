"""The disk that an adoption takes: estimated from what the old tables hold, and compared with what there is."""

import shutil
import sys
from pathlib import Path
from typing import Any, Final

from veupath_store.errors import AdoptionRefusedError

# Of what the old tables hold. `make bench-adopt`: 1.2 times with 1,000,000 conversations, 1.4 times with 20,000.
_COPIED: Final = 1.3
# With 1 MB of work_mem 20,000 conversations took 0.11 times; what fits into work_mem takes none.
_SORTED: Final = 0.15
_IN_MEMORY: Final = 128 * 1024 * 1024
"""The work_mem of an adoption."""

# The names of a few settings are shown to some roles only.
_DIRECTORY: Final = """
SELECT s.setting AS directory, (SELECT system_identifier FROM pg_control_system()) AS identifier
FROM pg_settings s JOIN pg_database d ON d.datname = current_database()
JOIN pg_tablespace t ON t.oid = d.dattablespace AND t.spcname = 'pg_default'
WHERE s.name = 'data_directory' AND has_function_privilege('pg_control_system()', 'EXECUTE')"""

_LIMITS: Final = """
SELECT pg_size_bytes(current_setting('max_wal_size')) AS log, quote_ident(current_database()) AS database,
       current_setting('temp_file_limit') AS limit,
       CASE current_setting('temp_file_limit') WHEN '-1' THEN NULL
           ELSE pg_size_bytes(current_setting('temp_file_limit')) END AS temporary"""


async def free_disk(connection: Any) -> int | None:  # noqa: ANN401 - an asyncpg connection, which has no types
    """The bytes that the server's disk has free; ``None`` where it is not this machine's, or not ours to look at."""
    row = await connection.fetchrow(_DIRECTORY)
    if row is None:
        return None
    directory = Path(row["directory"])
    try:
        # Another machine, or a container, may have the same path: the file begins with what tells a cluster apart.
        with (directory / "global" / "pg_control").open("rb") as control:
            identifier = int.from_bytes(control.read(8), sys.byteorder, signed=True)
        return shutil.disk_usage(directory).free if identifier == row["identifier"] else None
    except OSError:
        return None


async def check_room(connection: Any, held: int, free: int | None) -> int:  # noqa: ANN401
    """Estimate the bytes that an adoption takes beside those that the old tables hold, with its write-ahead log.

    Raises:
        AdoptionRefusedError: There are fewer, or temporary files may not be as large as they would be.
    """
    limits = await connection.fetchrow(_LIMITS)
    needed: int = round(held * _COPIED) + min(held, limits["log"])
    sorted_ = round(held * _SORTED)
    refused = []
    if free is not None and free < needed:
        refused.append(
            f"The server's disk has {_megabytes(free)} free, and an adoption takes about {_megabytes(needed)}: free "
            "some, or add some"
        )
    if limits["temporary"] is not None and limits["temporary"] < sorted_ > _IN_MEMORY:
        refused.append(
            f"temp_file_limit is {limits['limit']}, and sorting takes about {_megabytes(sorted_)}: as a superuser, "
            f"ALTER DATABASE {limits['database']} SET temp_file_limit = -1"
        )
    if refused:
        raise AdoptionRefusedError(refused)
    return needed


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
