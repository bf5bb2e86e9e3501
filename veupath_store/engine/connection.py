"""`StoreConnection`: an asyncpg connection that knows whether it must be reset.

asyncpg resets a connection whenever it is given back to a pool (``RESET ALL``, ``CLOSE ALL``, ``UNLISTEN *``, and
advisory locks): one round trip more for every call. It is needed only after a statement that set something for the
session. Which those are cannot be seen from SQL in general, because a function may do anything. So it is turned
around: a connection is spared the reset only if each of its statements is of a kind that sets nothing, and calls only
functions of a list. Whatever is not recognised is followed by a reset.

What this cannot see is a trigger, an operator or a default of the database that sets something for the session, past
its transaction (``set_config(…, false)``). The store has none.
"""

import re
from functools import lru_cache
from typing import Any, Final

import asyncpg

from veupath_store.servers.inherited import keep_from_children

_ROWS: Final = re.compile(r"[\s(]*(SELECT|INSERT|UPDATE|DELETE|WITH|VALUES)\b", re.IGNORECASE)
"""Statements that read or write rows."""

DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
)
"""Raises, for a transaction, only what would lose acknowledged writes. Every other value is the operator's choice:
``remote_apply`` is more than ``on``."""

_CONTROL: Final = re.compile(
    rf"BEGIN|BEGIN ISOLATION LEVEL READ COMMITTED(; SET LOCAL \w+ = \d+)+; {re.escape(DURABLE)}"
    r"|(COMMIT|ROLLBACK)( AND CHAIN)?|(SAVEPOINT|RELEASE SAVEPOINT) \w+"
    r"|ROLLBACK TO SAVEPOINT \w+; RELEASE SAVEPOINT \w+"
)
"""What bounds a transaction, as the engine sends it."""

# In the order in which they stand: a quote in a comment begins no string, and two dashes in a string no comment.
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*")

# Several statements; strings and names with escapes, which are not read here; a schema that is written with a space.
_UNREADABLE: Final = re.compile(r";|/\*|\$(?!\d)|\b[EU]&?'|\.\s", re.IGNORECASE)

# A name before a bracket that is no function's: the table of an INSERT, a conflict's columns, a named query, an alias.
_NO_CALL: Final = re.compile(
    r"\bINTO\s+[\w\"]+\s*\(|\bCONFLICT\s*\(|\bAS\s+\w+\s*\("
    r"|\b\w+\s*\([\w\s,\"]*\)\s+AS\s+(?:(?:NOT\s+)?MATERIALIZED\s+)?(?=\(\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|VALUES\s*\())",
    re.IGNORECASE,
)
_CALL: Final = re.compile(r"([\w\".]+)\s*\(")

_WORDS: Final = frozenset(
    """
    all and any array as between by case check char distinct else end except exists filter from having in intersect
    into is lateral limit materialized not null numeric of offset on or order over partition recursive returning row
    select set some then union update using values varchar when where with within
    """.split()  # noqa: SIM905 - a list of a hundred quoted words reads worse
)
"""Words of SQL that may stand before a bracket."""

_FUNCTIONS: Final = frozenset(
    """
    abs array_agg array_append array_length array_position array_remove avg bool_and bool_or cardinality ceil
    clock_timestamp coalesce concat count current_database current_setting date_trunc dense_rank extract first_value
    floor format gen_random_uuid generate_series greatest jsonb_agg jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_object_agg jsonb_object_keys jsonb_set
    jsonb_strip_nulls jsonb_typeof lag last_value lead least left length lower make_interval max md5 min mod now
    nullif octet_length pg_column_size pg_control_system pg_current_snapshot pg_current_wal_insert_lsn
    pg_current_xact_id pg_current_xact_id_if_assigned pg_is_in_recovery pg_logical_emit_message pg_notify
    pg_snapshot_xmax pg_snapshot_xmin pg_visible_in_snapshot pg_walfile_name pg_xact_status rank regexp_matches
    regexp_replace repeat replace right round row_number row_to_json split_part statement_timestamp string_agg strpos
    substr substring sum to_char to_jsonb to_regclass transaction_timestamp trim txid_current unnest upper
    """.split()  # noqa: SIM905
)
"""Functions of PostgreSQL that set nothing for the session."""


@lru_cache(maxsize=2_048)
def leaves_nothing(sql: str) -> bool:
    """Whether a statement certainly leaves nothing behind in its session; ``False`` also where that is not known."""
    if _CONTROL.fullmatch(sql):
        return True
    if re.search(r"\b[EU]&?'", sql, re.IGNORECASE):
        return False
    bare = _LITERAL.sub(_plain, sql)
    if _UNREADABLE.search(bare) or not _ROWS.match(bare):
        return False
    return all(name.lower() in _FUNCTIONS or name.lower() in _WORDS for name in _CALL.findall(_NO_CALL.sub(" ", bare)))


def _plain(literal: "re.Match[str]") -> str:
    text = literal[0]
    if text.startswith("'"):
        return "''"
    return " " if text.startswith("--") else text


class StoreConnection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A connection that is reset when it is given back only if a statement may have left something in its session.

    It looks at every statement itself, whoever sends it and however: also what an application sends past the store.
    """

    __slots__ = ("_needs_reset", "raises_commits")

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._needs_reset = False
        self.raises_commits: bool = False
        keep_from_children(self._transport)

    def begins_here(self, *, raises_commits: bool) -> None:
        """Call what the session is now its first state: a reset leads back to it.

        `raises_commits` is whether ``synchronous_commit`` was raised from ``off``, to which RESET ALL puts it back.
        """
        self._needs_reset, self.raises_commits = False, raises_commits

    @property
    def is_clean(self) -> bool:
        """Whether it could be given to another task as it is."""
        return not (
            self._needs_reset
            or self.is_closed()
            or self._protocol.is_in_transaction()
            or self._protocol._is_cancelling()
            or self._top_xact is not None
            or self._listeners
            or self._log_listeners
        )

    def get_reset_query(self) -> str:
        """What resets the session; nothing where there is nothing to reset."""
        if not self._needs_reset:
            return ""
        query = str(super().get_reset_query())
        return f"{query}\nSET synchronous_commit = on;" if self.raises_commits else query

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """As asyncpg's, which closes the connection if this fails."""
        if not self.is_clean:
            await super().reset(timeout=timeout)
            self._needs_reset = False

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """As asyncpg's."""
        self._look_at(query)
        return await super().execute(query, *args, **options)

    async def _execute(self, query: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        self._look_at(query)
        return await super()._execute(query, *args, **options)

    async def _executemany(self, query: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        self._look_at(query)
        return await super()._executemany(query, *args, **options)

    async def _prepare(self, query: str, **options: Any) -> Any:  # noqa: ANN401
        self._look_at(query)
        return await super()._prepare(query, **options)

    def _look_at(self, query: str) -> None:
        if not leaves_nothing(query):
            self._needs_reset = True
