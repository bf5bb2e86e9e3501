"""Which conversations have logs, by the names of the keys in Redis."""

from typing import Final
from uuid import UUID

from veupath_store.events.entries import Position
from veupath_store.events.keys import BEHIND, LogKey, LogKind
from veupath_store.events.redis_client import RedisClient
from veupath_store.legacy_ids import adopted_id

SCANNED: Final = 1_000
_LONGEST: Final = 50

# KEYS: the log, the marks. ARGV: the newest entry that it ever had, the stream.
REMOVE: Final = """
local info = redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XINFO', 'STREAM', KEYS[1]) or {}
for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' and info[i + 1] == ARGV[1] then
        redis.call('ZREM', KEYS[2], ARGV[2])
        return redis.call('UNLINK', KEYS[1])
    end
end
return 0
"""


class LogNames:
    """The logs of one event log, by their names."""

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    async def scan_old(self, kind: LogKind, cursor: int) -> tuple[int, list[LogKey]]:
        """Go through some of the keys that Redis holds, for logs under names that are no ids in their usual form.

        Args:
            kind: Whose logs.
            cursor: 0, then what this returned.

        Returns:
            Where to go on, 0 at the end; and the logs, with the ids that stand for their names.
        """
        after, names = await self._scan(kind, cursor)
        old = [name for name in names if 0 < len(name) <= _LONGEST and _identity(name) is None]
        return after, [LogKey(kind, adopted_id(name), name) for name in old]

    async def scan(self, cursor: int) -> tuple[int, list[UUID]]:
        """Go through some of the keys that Redis holds.

        Args:
            cursor: 0, then what this returned.

        Returns:
            Where to go on, 0 at the end; and the conversations that have a log, some of them perhaps twice.
        """
        after, names = await self._scan(LogKind.STREAM, cursor)
        return after, [identity for name in names if (identity := _identity(name)) is not None]

    async def _scan(self, kind: LogKind, cursor: int) -> tuple[int, list[str]]:
        start = f"{self._prefix}{kind}:"
        # A prefix has no character that a pattern gives a meaning to.
        [[after, keys]] = await self._client.run([("SCAN", cursor, "MATCH", f"{start}*", "COUNT", SCANNED)])
        return int(after), [key.decode(errors="replace").removeprefix(start) for key in keys]

    async def remove_unmoved(self, key: LogKey, last: Position) -> bool:
        """Remove a log and its mark, unless something was appended after a position.

        Returns:
            Whether it was removed.
        """
        names = (key.text(self._prefix), f"{self._prefix}{BEHIND}")
        [removed] = await self._client.run([("EVAL", REMOVE, 2, *names, str(last), str(key.id))])
        return bool(removed)


def _identity(name: str) -> UUID | None:
    """The conversation of a name that this package has given; others' keys may begin alike."""
    try:
        identity = UUID(name)
    except ValueError:
        return None
    return identity if str(identity) == name else None
