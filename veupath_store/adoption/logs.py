"""Logs whose ids were not the texts that name them now: copied to the keys that belong to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import BATCH, Work
from veupath_store.config import StoreSettings
from veupath_store.events.log.client import Command, RedisClient
from veupath_store.events.log.entries import LogKey, LogKind

_IDS: Final = "SELECT legacy_id, id FROM adopting_ids WHERE kind = '{kind}' AND own ORDER BY legacy_id"
_NOTE: Final = "UPDATE adopting_problems SET fixed = $1 WHERE kind = $2 AND key = ANY ($3::text[])"

_COPIED: Final = "its log was copied to the key that it has now; the old key stays"
_NONE: Final = "there is no log under its old key"


@asynccontextmanager
async def old_logs(settings: StoreSettings) -> AsyncIterator[RedisClient | None]:
    """A client of the event log, which has answered; ``None`` where there is no log.

    Raises:
        UnavailableError: Redis does not answer.
    """
    if settings.log_target is None:
        yield None
        return
    client = RedisClient(settings.log_target, settings.log_timeout)
    try:
        await client.run([("PING",)])
        yield client
    finally:
        await client.close()


async def copy_logs(work: Work, settings: StoreSettings) -> None:
    """Copy them, where there is an event log. Idempotent: a key that is there already is left alone.

    Raises:
        UnavailableError: Redis does not answer; the adoption must not commit.
    """
    async with old_logs(settings) as client:
        if client is None:
            return
        async for rows in work.batches(_IDS.format(kind="streams"), BATCH // 10):
            copied: dict[bool, list[str]] = {True: [], False: []}
            for row in rows:
                copy = _copy(LogKind.STREAM, row, settings.log_prefix)
                _, there = await client.run([copy, ("EXISTS", copy[2])])
                copied[bool(there)].append(row["legacy_id"])
            for there, keys in copied.items():
                fixed = _COPIED if there else _NONE
                await work.connection.execute(_NOTE, fixed, ProblemKind.RENAMED_LOG, keys)
        async for rows in work.batches(_IDS.format(kind="operations"), BATCH):
            await client.run([_copy(LogKind.OPERATION, row, settings.log_prefix) for row in rows])


def _copy(kind: LogKind, row: Any, prefix: str) -> Command:  # noqa: ANN401 - a record
    return "COPY", f"{prefix}{kind}:{row['legacy_id']}", LogKey(kind, row["id"]).text(prefix)
