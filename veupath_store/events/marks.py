"""Which streams have projections that are behind their logs: marked by appending, unmarked by catching up.

A mark's score says since when it stands, in milliseconds, and every further append raises it by a thousandth: so a
catch-up that read the log before that append does not take the mark away, and the order stays that of the first marks.
Scores come from the server's clock; the application's clocks differ, and two marks of the same score would be taken
for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from veupath_store.events.keys import BEHIND, LogKey
from veupath_store.events.redis_client import Command, RedisClient

# KEYS: the marks, the log. A log that is not there is not marked: nothing was appended to it.
MARK: Final = """
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local score = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '')
if score then
    score = score + 0.001
else
    local now = redis.call('TIME')
    score = now[1] * 1000 + now[2] / 1000
end
redis.call('ZADD', KEYS[1], string.format('%.3f', score), ARGV[1])
return 1
"""

# ARGV: pairs of a stream and the score that was seen.
CAUGHT_UP: Final = """
local removed = 0
for i = 1, #ARGV, 2 do
    local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
    if score and tonumber(score) == tonumber(ARGV[i + 1]) then
        removed = removed + redis.call('ZREM', KEYS[1], ARGV[i])
    end
end
return removed
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is to be caught up."""

    count: int
    """Streams that are marked as behind."""
    seconds: float
    """For how long the oldest mark stands; 0 without one."""


class BehindMarks:
    """The marks of one event log."""

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._key = f"{prefix}{BEHIND}"

    def mark(self, key: LogKey) -> Command:
        """The command that marks a stream, if its log is there."""
        return ("EVAL", MARK, 2, self._key, key.text(self._prefix), str(key.id))

    def forget(self, keys: Sequence[LogKey]) -> Command:
        """The command that takes marks away, whatever their score."""
        return ("ZREM", self._key, *(str(key.id) for key in keys))

    async def list(self, limit: int, skip: int) -> list[tuple[UUID, float]]:
        """As `EventLog.behind`."""
        [reply] = await self._client.run([("ZRANGE", self._key, skip, skip + limit - 1, "WITHSCORES")])
        return [(UUID(member.decode()), float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]

    async def clear(self, seen: Sequence[tuple[UUID, float]]) -> None:
        """As `EventLog.caught_up`."""
        if seen:
            pairs = (text for stream_id, score in seen for text in (str(stream_id), repr(float(score))))
            await self._client.run([("EVAL", CAUGHT_UP, 1, self._key, *pairs)])

    async def backlog(self) -> Backlog:
        """As `EventLog.backlog`."""
        count, oldest, now = await self._client.run(
            [("ZCARD", self._key), ("ZRANGE", self._key, 0, 0, "WITHSCORES"), ("TIME",)]
        )
        if not oldest:
            return Backlog(count=int(count), seconds=0.0)
        clock = int(now[0]) + int(now[1]) / 1_000_000
        return Backlog(count=int(count), seconds=max(0.0, clock - float(oldest[1]) / 1000))
