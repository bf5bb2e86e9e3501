"""Logs of conversations whose id was not the text that names their log now: copied to the key that belongs to them."""

from typing import Final

from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import BATCH, Work
from veupath_store.config import StoreSettings
from veupath_store.events.keys import LogKey, LogKind
from veupath_store.events.redis_client import RedisClient

_RENAMED: Final = "SELECT legacy_id, id FROM adopting_ids WHERE kind = 'streams' AND own ORDER BY legacy_id"
_NOTE: Final = "UPDATE adopting_problems SET mended = $1 WHERE kind = $2 AND key = ANY ($3::text[])"

_COPIED: Final = "its log was copied to the key that it has now; the old key stays"
_NONE: Final = "there is no log under its old key"


async def copy_logs(work: Work, settings: StoreSettings) -> bool:
    """Copy them, where there is an event log. Idempotent: a key that is there already is left alone.

    Returns:
        Whether there was something to look for.

    Raises:
        UnavailableError: Redis does not answer; the adoption must not commit.
    """
    if settings.log_target is None:
        return False
    client, found = RedisClient(settings.log_target, settings.log_timeout), False
    try:
        async for rows in work.batches(_RENAMED, BATCH // 10):
            found = True
            copied: dict[bool, list[str]] = {True: [], False: []}
            for row in rows:
                old = f"{settings.log_prefix}{LogKind.STREAM}:{row['legacy_id']}"
                new = LogKey.stream(row["id"]).text(settings.log_prefix)
                _, there = await client.run([("COPY", old, new), ("EXISTS", new)])
                copied[bool(there)].append(row["legacy_id"])
            for there, keys in copied.items():
                mended = _COPIED if there else _NONE
                await work.connection.execute(_NOTE, mended, ProblemKind.RENAMED_LOG, keys)
    finally:
        await client.close()
    return found
