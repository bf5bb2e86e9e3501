"""Everything of one user at once: purge and export."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

import orjson
from tortoise.models import Model

from veupath_store.documents.json import decode
from veupath_store.engine.statements import Statements
from veupath_store.errors import NotFoundError, UnitOfWorkError
from veupath_store.inputs.legacy_ids import MAY_BE_ADOPTED
from veupath_store.inputs.validation import as_uuid, boolean, one_of
from veupath_store.models import User
from veupath_store.models.deletions import REMEMBER
from veupath_store.models.unlogged import tagged
from veupath_store.repositories.base import Repository, site_or_none
from veupath_store.session import get_engine
from veupath_store.values import DismissReason, PurgeMode, PurgeReport


@dataclass(frozen=True, kw_only=True)
class OwnedTable:
    """How one table belongs to users.

    Attributes:
        table: Its name.
        key: The column that identifies a row.
        on_site: Which of a user's rows belong to the site ``$2``, or all where that is null, over the alias ``t``.
        purged: Which of a user's rows a purge deletes, where it is not all of these; ``$3`` is whether conversations
            with a WDK strategy are kept, ``$4`` whether the user goes.
        noted: Columns beside the key that a purge reads of what it deletes: never whole rows, which hold documents.
    """

    table: str
    key: str
    on_site: str
    purged: str | None = None
    noted: tuple[str, ...] = ()


_ON_SITE: Final = "($2::text IS NULL OR t.site_id = $2)"


def _doomed(stream: str) -> str:
    """Whether a conversation is deleted: on the site, and not kept for its WDK strategy.

    Where all go, nothing is looked up: PostgreSQL would compare each row with every conversation. 10,000 rows take
    40 ms so, and 180 without; 20,000 take 90 and 610.
    """
    return (
        "($2::text IS NULL AND NOT $3::boolean OR "
        f"EXISTS (SELECT FROM stream_projections d WHERE d.stream_id = {stream} AND d.user_id = t.user_id "
        "AND ($2::text IS NULL OR d.site_id = $2) AND NOT ($3 AND d.wdk_strategy_id IS NOT NULL)))"
    )


_OF_STREAM: Final = (
    "($2::text IS NULL OR "
    "EXISTS (SELECT FROM streams s WHERE s.id = t.stream_id AND s.user_id = t.user_id AND s.site_id = $2))"
)

OWNED_TABLES: Final = (
    # What was said in a conversation, and what was done for it, goes in any mode, also of one that is kept.
    OwnedTable(table="stream_events", key="key", on_site=_OF_STREAM),
    OwnedTable(table="operations", key="id", on_site=_OF_STREAM, noted=("stream_id",)),
    OwnedTable(table="stream_projections", key="stream_id", on_site=_ON_SITE, purged=_doomed("t.stream_id")),
    OwnedTable(table="streams", key="id", on_site=_ON_SITE, purged=_doomed("t.id")),
    OwnedTable(table="gene_sets", key="id", on_site=_ON_SITE),
    OwnedTable(table="experiments", key="id", on_site=_ON_SITE),
    OwnedTable(table="control_sets", key="id", on_site=_ON_SITE, purged=f"NOT t.is_public AND {_ON_SITE}"),
    # Of no site. They stay as long as the user does: a save that comes late must not bring back what was purged.
    OwnedTable(table="document_ids", key="id", on_site="$2::text IS NULL", purged="$4::boolean"),
)
"""Every table that holds rows of users, in an order in which rows can be deleted and, backwards, inserted again.

A table with a ``user_id`` that is not listed here fails tests/integration/test_accounts.py."""

EXPORT_CHUNK: Final = 50
"""Rows that an export holds in memory at once; each may carry a document of megabytes."""

# Of one statement, `_PURGE`; a Tortoise UPDATE returns no row, and has no `unlogged ||`.
_KEPT: Final = f"t.user_id = $1 AND {_ON_SITE} AND $3 AND t.wdk_strategy_id IS NOT NULL"
_RELEASED: Final = f"t.user_id = $1 AND {_ON_SITE} AND t.is_public"
_DISMISS: Final = (
    "UPDATE stream_projections t "
    "SET dismissed_at = COALESCE(t.dismissed_at, CURRENT_TIMESTAMP), "
    f"dismissed_reason = COALESCE(t.dismissed_reason, '{DismissReason.PURGE.value}'), "
    "updated_at = GREATEST(t.updated_at, CURRENT_TIMESTAMP), message_count = 0, messages_after = t.last_event_id, "
    f"unlogged = t.unlogged || $5::jsonb WHERE {_KEPT} RETURNING t.stream_id"
)
_DISMISSED: Final = ("dismissed_at", "dismissed_reason", "message_count", "messages_after")
# Of conversations that stay, before their gene sets go: the link's end is to be logged, too, by `unlogged ||`.
_UNLINK: Final = """
UPDATE stream_projections t SET gene_set_id = NULL, unlogged = t.unlogged || $3::jsonb
WHERE t.user_id = $1 AND t.gene_set_id IN
    (SELECT g.id FROM gene_sets g WHERE g.user_id = $1 AND ($2::text IS NULL OR g.site_id = $2))"""
_RELEASE: Final = f"UPDATE control_sets t SET user_id = NULL WHERE {_RELEASED} RETURNING t.id"


# An INSERT of what the same statement deletes. What was said in a conversation goes also where its row stays.
_REMEMBER: Final = f"""
INSERT INTO deleted_ids (kind, id)
SELECT 'stream', id FROM gone_streams
UNION ALL SELECT 'messages', stream_id FROM gone_kept
UNION ALL SELECT 'operation', id FROM gone_operations
          WHERE stream_id IS NULL OR stream_id IN (SELECT stream_id FROM gone_kept) OR {MAY_BE_ADOPTED.format(id="id")}
{REMEMBER}"""


def _statement(dry_run: bool) -> str:
    """One statement, so that what is deleted, kept and counted is decided under one snapshot."""
    parts = {}
    for owned in OWNED_TABLES:
        columns = ", ".join(f"t.{name}" for name in (owned.key, *owned.noted))
        rows = f"FROM {owned.table} t WHERE t.user_id = $1 AND {owned.purged or owned.on_site}"
        parts[owned.table] = f"SELECT {columns} {rows}" if dry_run else f"DELETE {rows} RETURNING {columns}"
    kept = f"SELECT t.stream_id FROM stream_projections t WHERE {_KEPT}"
    parts["kept"] = kept if dry_run else _DISMISS
    parts["released"] = f"SELECT t.id FROM control_sets t WHERE {_RELEASED}" if dry_run else _RELEASE
    counts = ", ".join(f"(SELECT count(*) FROM gone_{name}) AS {name}" for name in parts)
    if not dry_run:
        parts["remembered"] = _REMEMBER
    expressions = ", ".join(f"gone_{name} AS ({sql})" for name, sql in parts.items())
    return (
        f"WITH {expressions} SELECT {counts}, "
        "ARRAY (SELECT stream_id FROM gone_kept ORDER BY stream_id) AS kept_ids, "
        "ARRAY (SELECT id FROM gone_streams ORDER BY id) AS stream_ids, "
        "ARRAY (SELECT id FROM gone_operations WHERE stream_id IS NULL ORDER BY id) AS operation_ids"
    )


_PURGE: Final = _statement(dry_run=False)
_COUNT: Final = _statement(dry_run=True)


class AccountRepository(Repository[User]):
    """Purge and export: everything that one user has, whatever the table. Several tables, which no queryset says."""

    model: ClassVar[type[Model]] = User
    entity: ClassVar[str] = "user"
    owner_column: ClassVar[str] = "id"

    async def purge(
        self,
        user_id: UUID | str,
        *,
        site_id: str | None = None,
        mode: PurgeMode | str = PurgeMode.DELETE,
        dry_run: bool = False,
        keep_account: bool = False,
    ) -> PurgeReport:
        """Delete everything of one user, or of one user on one site, in one transaction.

        Public control sets stay, without an owner. For all sites the user goes too, unless the account is to be kept or
        conversations are by `PurgeMode.DISMISS`. The user's row is locked first: what others write for this user
        meanwhile waits, and then is part of the purge, or finds no user. Without a session the purge opens a unit of
        work of its own.

        What was said goes in any mode, also from the event log, soon after the commit, and with it the operations that
        said it. What such an operation appends later is refused.

        Four statements, whatever the number of rows; two for a dry run.

        Args:
            mode: What becomes of conversations with a WDK strategy.
            dry_run: Count and change nothing.
            keep_account: The user's row and its login stay, for whoever goes on with an empty account.

        Raises:
            UnavailableError: The database does not answer, or writers held locks for too long; nothing was changed.
            OutcomeUnknownError: Without a session, the answer to COMMIT was lost; repeat the call.
        """
        owner = as_uuid(user_id, "user_id")
        site = site_or_none(site_id)
        keep = one_of(mode, "mode", PurgeMode) is PurgeMode.DISMISS
        dry = boolean(dry_run, "dry_run")
        goes = not boolean(keep_account, "keep_account") and site is None and not keep
        self._refuse_other_owner(owner)
        return await self._in_unit(lambda session: self._purged(session.client, (owner, site, keep, goes), dry))

    async def _purged(self, client: Statements, which: tuple[UUID, str | None, bool, bool], dry: bool) -> PurgeReport:
        """One try, in a transaction: ``$1`` to ``$4`` of all its statements."""
        owner, site, _, goes = which
        if not await client.execute_rows("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", [owner]):
            raise NotFoundError(self.entity)
        if dry:
            row = (await client.execute_rows(_COUNT, which))[0]
        else:
            await client.execute_query(_UNLINK, [owner, site, tagged(("gene_set_id",))])
            row = (await client.execute_rows(_PURGE, [*which, tagged(_DISMISSED)]))[0]
        if goes and not dry:
            await client.execute_query("DELETE FROM users WHERE id = $1", [owner])
        return PurgeReport(
            deleted={**{owned.table: row[owned.table] for owned in OWNED_TABLES}, "users": int(goes)},
            dismissed=row["kept"],
            released=row["released"],
            stream_ids=tuple(row["stream_ids"]),
            kept_ids=tuple(row["kept_ids"]),
            operation_ids=tuple(row["operation_ids"]),
            dry_run=dry,
        )

    async def export(self, user_id: UUID | str, *, site_id: str | None = None) -> AsyncIterator[str]:
        """Everything of one user as JSON lines, for instance to a file: the tables, and what the event log holds.

        One statement for each table and one for each `EXPORT_CHUNK` rows; no more rows than that in memory. With an
        event log, where an export needs to have no session, one statement for each conversation, and round trips to
        Redis.

        Yields:
            Lines without line ends: ``{"table": "users", "row": {…}}`` first, then the other tables' rows, those that
            others refer to before those that refer to them, by id within a table. At last the events of conversations
            and operations, messages among them, in their order: ``{"table": "events", "row": {…}}``.

        Raises:
            UnitOfWorkError: The store has an event log, and the repository a session: no transaction waits for Redis.
        """
        owner = as_uuid(user_id, "user_id")
        site = site_or_none(site_id)
        self._refuse_other_owner(owner)
        engine = get_engine()
        if self._session is not None and engine.settings.log_target is not None:
            raise UnitOfWorkError(
                "An export reads the event log, for which no transaction may wait: call it on AccountRepository(), "
                "without a session."
            )
        client = await self._client()
        rows = await client.execute_rows("SELECT to_jsonb(t) AS row FROM users t WHERE id = $1", [owner])
        if not rows:
            raise NotFoundError(self.entity)
        yield _line("users", decode(rows[0]["row"]))
        for owned in reversed(OWNED_TABLES):
            key, theirs = f"t.{owned.key}", f"FROM {owned.table} t WHERE t.user_id = $1"
            all_keys = f"SELECT DISTINCT {key} {theirs} AND {owned.on_site} ORDER BY {key}"
            chunk = f"SELECT to_jsonb(t) AS row {theirs} AND {key} = ANY ($2::uuid[]) ORDER BY {key}"
            keys = [row[0] for row in await client.execute_rows(all_keys, [owner, site])]
            for start in range(0, len(keys), EXPORT_CHUNK):
                for row in await client.execute_rows(chunk, [owner, keys[start : start + EXPORT_CHUNK]]):
                    yield _line(owned.table, decode(row["row"]))
        async for event in engine.logged_events(owner, site):
            yield _line("events", event)


def _line(table: str, row: dict[str, Any]) -> str:
    return orjson.dumps({"table": table, "row": row}).decode()
