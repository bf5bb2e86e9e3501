"""Everything of one user at once: purge and export."""

from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import orjson

from veupath_store import limits
from veupath_store.engine.statements import Statements
from veupath_store.errors import NotFoundError
from veupath_store.events.keys import LogKey
from veupath_store.events.old_names import DERIVED
from veupath_store.json import decode
from veupath_store.races import despite_deadlocks
from veupath_store.repositories.inventory import OWNED_TABLES, OwnedTable
from veupath_store.repositories.users import OwnerOfLogs
from veupath_store.session import async_session_factory
from veupath_store.validation import as_uuid, boolean, one_of, text
from veupath_store.values import DismissReason, PurgeMode, PurgeReport

EXPORT_CHUNK: Final = 50
"""Rows that an export holds in memory at once; each may carry a document of megabytes."""

_KEPT: Final = "t.user_id = $1 AND ($2::text IS NULL OR t.site_id = $2) AND $3 AND t.wdk_strategy_id IS NOT NULL"
_RELEASED: Final = "t.user_id = $1 AND ($2::text IS NULL OR t.site_id = $2) AND t.is_public"
_DISMISS: Final = (
    "UPDATE stream_projections t "
    f"SET dismissed_at = CURRENT_TIMESTAMP, dismissed_reason = '{DismissReason.PURGE.value}', "
    f"updated_at = CURRENT_TIMESTAMP WHERE {_KEPT} AND t.dismissed_at IS NULL RETURNING t.stream_id"
)
_RELEASE: Final = f"UPDATE control_sets t SET user_id = NULL WHERE {_RELEASED} RETURNING t.id"


def _statement(dry_run: bool) -> str:
    """One statement, so that what is deleted, kept and counted is decided under one snapshot."""
    parts = {}
    for owned in OWNED_TABLES:
        columns = ", ".join(f"t.{name}" for name in (owned.key, *owned.noted))
        rows = f"FROM {owned.table} t WHERE t.{owned.owner} = $1 AND {owned.purged}"
        parts[owned.table] = f"SELECT {columns} {rows}" if dry_run else f"DELETE {rows} RETURNING {columns}"
    kept = f"SELECT t.stream_id FROM stream_projections t WHERE {_KEPT} AND t.dismissed_at IS NULL"
    parts["kept"] = kept if dry_run else _DISMISS
    parts["released"] = f"SELECT t.id FROM control_sets t WHERE {_RELEASED}" if dry_run else _RELEASE
    expressions = ", ".join(f"gone_{name} AS ({sql})" for name, sql in parts.items())
    counts = ", ".join(f"(SELECT count(*) FROM gone_{name}) AS {name}" for name in parts)
    return (
        f"WITH {expressions} SELECT {counts}, "
        "ARRAY (SELECT stream_id FROM gone_kept ORDER BY stream_id) AS kept_ids, "
        "ARRAY (SELECT id FROM gone_streams ORDER BY id) AS stream_ids, "
        "ARRAY (SELECT id FROM gone_operations WHERE stream_id IS NULL ORDER BY id) AS operation_ids, "
        f"ARRAY (SELECT id FROM gone_operations WHERE stream_id IS NOT NULL AND {DERIVED}) AS derived_ids"
    )


_PURGE: Final = _statement(dry_run=False)
_COUNT: Final = _statement(dry_run=True)


class AccountRepository(OwnerOfLogs):
    """Purge and export: everything that one user has, whatever the table."""

    async def purge(
        self,
        user_id: UUID | str,
        *,
        site_id: str | None = None,
        mode: PurgeMode = PurgeMode.DELETE,
        dry_run: bool = False,
    ) -> PurgeReport:
        """Delete everything of one user, or of one user on one site, in one transaction.

        Public control sets stay, as nobody's. Without a site the user goes too, unless conversations are kept by
        `PurgeMode.DISMISS`. The user's row is locked first: what others write for this user meanwhile waits, and then
        is part of the purge, or finds no user. Without a session the purge opens a unit of work of its own.

        Three statements, whatever the number of rows; two for a dry run.

        Args:
            user_id: The user.
            site_id: Only what belongs to this site; ``None`` for everything.
            mode: What becomes of conversations with a WDK strategy.
            dry_run: Count and change nothing.

        Returns:
            What was done, by table, with the conversations and operations whose logs must go.

        Raises:
            NotFoundError: There is no such user, or the repository is restricted to another one.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer, or writers held locks for too long; nothing was changed.
            OutcomeUnknownError: Without a session, the answer to COMMIT was lost; repeat the call.
        """
        owner = as_uuid(user_id, "user_id")
        site = None if site_id is None else text(site_id, "site_id", limits.SITE_ID)
        keep = one_of(mode, "mode", PurgeMode) is PurgeMode.DISMISS
        dry = boolean(dry_run, "dry_run")
        self._refuse_other_owner(owner)
        if self._session is not None:
            return await self._purged(self._session.client, owner, site, keep, dry)

        async def purge() -> PurgeReport:
            async with async_session_factory() as session:
                return await self._within(session)._purged(session.client, owner, site, keep, dry)

        return await despite_deadlocks(purge)

    async def _purged(self, client: Statements, owner: UUID, site: str | None, keep: bool, dry: bool) -> PurgeReport:
        """One try, in a transaction."""
        if not await client.execute_rows("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", [owner]):
            raise NotFoundError(self.entity)
        row = (await client.execute_rows(_COUNT if dry else _PURGE, [owner, site, keep]))[0]
        if not dry:
            for stream_id in row["kept_ids"]:
                self._record(stream_id, {"dismissed_reason": DismissReason.PURGE.value})
            # One of an adopted database may have a log of its own although it worked for a conversation.
            operations = [*row["operation_ids"], *row["derived_ids"]]
            self._remove_logs([*map(LogKey.stream, row["stream_ids"]), *map(LogKey.operation, operations)])
        goes = site is None and not keep
        if goes and not dry:
            await client.execute_query("DELETE FROM users WHERE id = $1", [owner])
        return PurgeReport(
            deleted={**{owned.table: row[owned.table] for owned in OWNED_TABLES}, "users": int(goes)},
            dismissed=row["kept"],
            released=row["released"],
            stream_ids=tuple(row["stream_ids"]),
            operation_ids=tuple(row["operation_ids"]),
            dry_run=dry,
        )

    async def export(self, user_id: UUID | str, *, site_id: str | None = None) -> AsyncIterator[str]:
        """Everything of one user as JSON lines, for instance to a file.

        One statement for each table and one for each `EXPORT_CHUNK` rows; no more rows than that in memory, and
        without a session no connection is held between two chunks.

        Args:
            user_id: The user.
            site_id: Only what belongs to this site; ``None`` for everything.

        Yields:
            Lines without line ends: ``{"table": "users", "row": {…}}`` first, then the other tables' rows, those that
            others refer to before those that refer to them, by id within a table.

        Raises:
            NotFoundError: There is no such user, or the repository is restricted to another one.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        owner = as_uuid(user_id, "user_id")
        site = None if site_id is None else text(site_id, "site_id", limits.SITE_ID)
        self._refuse_other_owner(owner)
        client = await self._client()
        rows = await client.execute_rows("SELECT to_jsonb(t) AS row FROM users t WHERE id = $1", [owner])
        if not rows:
            raise NotFoundError(self.entity)
        yield _line("users", rows[0]["row"])
        for owned in reversed(OWNED_TABLES):
            keys = await self._keys(client, owned, owner, site)
            for start in range(0, len(keys), EXPORT_CHUNK):
                for row in await self._chunk(client, owned, owner, keys[start : start + EXPORT_CHUNK]):
                    yield _line(owned.table, row["row"])

    @staticmethod
    async def _keys(client: Statements, owned: OwnedTable, owner: UUID, site: str | None) -> list[UUID]:
        if site is not None and owned.site is None:
            return []
        values: list[Any] = [owner] if site is None else [owner, site]
        condition = "" if site is None else f" AND {owned.site}"
        rows = await client.execute_rows(
            f"SELECT DISTINCT t.{owned.key} AS key FROM {owned.table} t WHERE t.{owned.owner} = $1{condition} "
            f"ORDER BY t.{owned.key}",
            values,
        )
        return [row["key"] for row in rows]

    @staticmethod
    async def _chunk(client: Statements, owned: OwnedTable, owner: UUID, keys: list[UUID]) -> list[Any]:
        return await client.execute_rows(
            f"SELECT to_jsonb(t) AS row FROM {owned.table} t "
            f"WHERE t.{owned.owner} = $1 AND t.{owned.key} = ANY ($2::uuid[]) ORDER BY t.{owned.key}",
            [owner, keys],
        )


def _line(table: str, row: str) -> str:
    return orjson.dumps({"table": table, "row": decode(row)}).decode()
