"""A clock that tests move.

Nothing here is faked: the clock goes on, and what is stored becomes older. So it holds for every reader alike, for
the server's ``CURRENT_TIMESTAMP`` and ``clock_timestamp()``, for ``datetime.now`` in the application, and for the
times of a log's entries, which are their ids. Functions that shadow the server's would reach neither
``CURRENT_TIMESTAMP``, which is no function, nor the application.
"""

from datetime import timedelta
from typing import Final

from veupath_store.events.log.log import event_log
from veupath_store.events.project.worker import log_unlogged
from veupath_store.integrations.testing.clock_log import make_log_older
from veupath_store.session import async_session_factory

_MILLISECOND: Final = timedelta(milliseconds=1)

# Whoever may, switches triggers off meanwhile, which might stamp a row anew.
_AGE: Final = """
DO $$
DECLARE
    older text;
BEGIN
    IF current_setting('is_superuser')::boolean THEN SET LOCAL session_replication_role = replica; END IF;
    FOR older IN
        SELECT format('UPDATE %I.%I SET ', n.nspname, c.relname)
               || string_agg(format('%1$I = %1$I - interval ''{milliseconds} milliseconds''', a.attname), ', ')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.atttypid = 'timestamptz'::regtype
          AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
          AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
        GROUP BY n.nspname, c.relname
    LOOP EXECUTE older; END LOOP;
END $$"""

# The columns that hold the id of a log's entry, which begins with its time in milliseconds.
_POSITIONS: Final = (
    ("stream_projections", "last_event_id"),
    ("stream_projections", "messages_after"),
    ("operations", "start_position"),
)
_AGE_POSITION: Final = """
UPDATE {table} SET {column} = (split_part({column}, '-', 1)::numeric - {milliseconds})::text || '-'
                              || split_part({column}, '-', 2)
WHERE split_part({column}, '-', 1)::numeric >= {milliseconds}"""


class StoreClock:
    """Moves time on, for all that the open store has stored."""

    async def advance(self, span: timedelta | None = None, /, **parts: float) -> None:
        """Let time pass: everything that is stored becomes so much older. Some milliseconds.

        All columns of the type ``timestamptz`` move, also those of the application's own tables in this database, and
        the entries of all logs. What was read before is not moved: a `Lease` that is held (its worker learns from its
        next heartbeat that it has expired), a page's cursor, the id of an event. Nor is what the application writes
        into a document or an event of its own. Call it while no unit of work is open.

        Args:
            span: How long, in whole milliseconds.
            parts: The same in words, as ``days=3`` or ``hours=1, minutes=30``.

        Raises:
            ValueError: The time is not positive, or no whole number of milliseconds.
            UnavailableError: A row is locked by a unit of work; nothing was moved.
        """
        whole = span if span is not None else timedelta(**parts)
        milliseconds, rest = divmod(whole, _MILLISECOND)
        if milliseconds <= 0 or rest:
            raise ValueError("time moves on, by whole milliseconds: advance(days=3)")
        statements = [_AGE.format(milliseconds=milliseconds)] + [
            _AGE_POSITION.format(table=table, column=column, milliseconds=milliseconds) for table, column in _POSITIONS
        ]
        log = event_log()
        if log is not None:
            await log_unlogged(log)  # so that nothing is written to a log while its entries are moved
        async with async_session_factory() as session:
            for statement in statements:
                await session.client.execute_script(statement)
            if log is not None:
                await make_log_older(log, milliseconds)
