"""Taking over a database of the SQLAlchemy layer: what it would do, and doing it, in one transaction."""

import time
from dataclasses import fields, replace
from typing import Final

from veupath_store.adoption import record
from veupath_store.adoption.catalog import new_tables
from veupath_store.adoption.documents import fix_documents
from veupath_store.adoption.ids import map_ids
from veupath_store.adoption.legacy import REVISIONS, SCHEMA, TABLES, VERSION_TABLE
from veupath_store.adoption.load import load, verify
from veupath_store.adoption.logs import copy_logs, note_logs, old_logs
from veupath_store.adoption.notes import note_all
from veupath_store.adoption.plans import place_steps
from veupath_store.adoption.recognition import POOLED, Recognised, recognise
from veupath_store.adoption.room import check_room, free_disk
from veupath_store.adoption.staging import count_bytes, count_rows, drop_views, make_views, stage
from veupath_store.adoption.values import AdoptionPlan, AdoptionReport
from veupath_store.adoption.work import PROBLEMS, UNHURRIED, Progress, Work, own_connection, problems_in
from veupath_store.config import StoreSettings
from veupath_store.engine import StoreClient
from veupath_store.engine.transaction import StoreTransaction
from veupath_store.errors import AdoptionRefusedError, OutcomeUnknownError
from veupath_store.events.log.client import RedisClient
from veupath_store.schema.lock import LOCKED, own_client, under_lock
from veupath_store.schema.migrations import apply_in

# Of what reading and deciding took, on the same server a moment before. `make bench-adopt` on two cores: 1.31 times
# with 20,000 and with 1,000,000 conversations.
_WHOLE: Final = 1.31

_SETTINGS: Final = (
    UNHURRIED,
    # Between two statements is the work on one batch, and a progress bar.
    "SET LOCAL idle_in_transaction_session_timeout = '10min'",
    # Before the first temporary table: of a million rows they have some hundred megabytes.
    "SET LOCAL temp_buffers = '64MB'",
    "SET LOCAL work_mem = '128MB'",
    "SET LOCAL maintenance_work_mem = '256MB'",
    "SET LOCAL jit = off",
)


async def plan_adoption(settings: StoreSettings | None = None) -> AdoptionPlan:
    """What an adoption would find and fix. Reads everything and changes nothing; the application may run meanwhile.

    Returns:
        The plan; with no variant where there is nothing to adopt, because the store's schema is there already.

    Raises:
        AdoptionRefusedError: The database is not one of the SQLAlchemy layer, or something stands in the way; the
            error lists all of it.
    """
    patient = _patient(settings)
    async with own_client(patient) as client, client.pooled_transaction() as transaction, old_logs(patient) as log:
        async with own_connection(transaction) as connection:
            # The application goes on writing: all that is read is of one moment.
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            work = Work(connection=connection, log=log, log_prefix=patient.log_prefix)
            if await record.recorded(connection) is not None:
                return AdoptionPlan(variant=None, revision=None)
            found, size, needed = await _look(work)
            plan = await _survey(work, found, size, needed)
            plan = replace(plan, problems=await problems_in(connection, "adopting_problems"))
        await transaction.rollback()
    return plan


async def adopt(settings: StoreSettings | None = None, *, progress: Progress | None = None) -> AdoptionReport:
    """Take over a database of the SQLAlchemy layer, in one transaction: afterwards it is the store's, or as it was.

    The application must not run: its tables are locked until the end. The old tables are kept in the schema
    ``veupath_legacy``; `undo_adoption` brings them back, `finish_adoption` drops them. Safe to run again.

    Args:
        progress: Called with how far it is.

    Returns:
        The report; where the database was adopted before, the report of that, with `repeated` set.

    Raises:
        AdoptionRefusedError: As `plan_adoption`.
        UnavailableError: A server does not answer, another process migrates for longer than `migration_wait`, or a
            table's lock was not free in `migration_attempts` tries: the application still runs.
        OutcomeUnknownError: The connection was lost in COMMIT, twice; run it again.
    """
    patient = _patient(settings)

    async def work(client: StoreClient) -> AdoptionReport:
        async with client.pooled_transaction() as transaction, old_logs(patient) as log:
            return await _adopt(transaction, log, patient.log_prefix, progress)

    try:
        return await under_lock(patient, work, again=LOCKED)
    except OutcomeUnknownError:
        # It has committed or it has not: the second run finds out which, and goes on from there.
        return await under_lock(patient, work, again=LOCKED)


def _patient(settings: StoreSettings | None) -> StoreSettings:
    patient = (settings or StoreSettings()).for_migrations()
    if patient.pgbouncer:
        raise AdoptionRefusedError([POOLED])
    return patient


async def _adopt(
    transaction: StoreTransaction, log: RedisClient | None, log_prefix: str, progress: Progress | None
) -> AdoptionReport:
    started = time.monotonic()
    async with own_connection(transaction) as connection:
        before = await record.recorded(connection)
        if before is not None:
            return before
        work = Work(connection=connection, log=log, log_prefix=log_prefix, progress=progress)
        _, size, needed = await _look(work)
        work.tell("locking", 0, len(TABLES))
        # In the order of their names; whoever waits for one waits until the end. Nothing is locked before.
        await work.run(f"LOCK TABLE {', '.join(sorted(TABLES))} IN ACCESS EXCLUSIVE MODE")
        found = await recognise(connection)
        # Their indexes and constraints go with them, and no row is touched.
        await work.run(f"CREATE SCHEMA {SCHEMA}")
        for table in (*TABLES, VERSION_TABLE):
            await work.run(f"ALTER TABLE IF EXISTS {found.schema}.{table} SET SCHEMA {SCHEMA}")
    await apply_in(transaction)
    async with own_connection(transaction) as connection:
        plan = await _survey(work, replace(found, schema=SCHEMA), size, needed)
        written = await load(work)
        await verify(work)
        await work.run(f"ANALYZE {', '.join(new_tables())}")
        await copy_logs(work)
        plan = replace(plan, problems=await problems_in(connection, "adopting_problems"))
        report = AdoptionReport(
            **{field.name: getattr(plan, field.name) for field in fields(plan)},
            written=written,
            seconds=time.monotonic() - started,
            adopted_at=await connection.fetchval("SELECT now()"),
        )
        await record.record(work, report, found.schema)
        await drop_views(connection)
    return report


async def _look(work: Work) -> tuple[Recognised, int, int]:
    """Recognise the old tables, and see that nothing stands in the way; the disk that they hold, and what is needed."""
    for statement in _SETTINGS:
        await work.run(statement)
    free = await free_disk(work.connection)  # before the role changes
    found = await recognise(work.connection)
    size = await count_bytes(work.connection, found.schema)
    needed = await check_room(work.connection, size, free)
    if work.log is not None:
        await work.log.run([("PING",)])  # else that it does not answer is found after minutes
    return found, size, needed


async def _survey(work: Work, found: Recognised, size: int, needed: int) -> AdoptionPlan:
    """Decide about every row, in temporary tables; the plan, but for the problems, to which more may come."""
    started = time.monotonic()
    work.tell("reading rows", 0, 1)
    await make_views(work.connection, found)
    await work.run(PROBLEMS)
    work.rows.update(await count_rows(work.connection))
    await map_ids(work)
    await fix_documents(work)
    await place_steps(work)
    await stage(work)
    await note_all(work)
    await note_logs(work)
    return AdoptionPlan(
        variant=found.variant,
        revision=REVISIONS[found.revision],
        rows=dict(work.rows),
        bytes=size,
        estimate_seconds=(time.monotonic() - started) * _WHOLE,
        estimate_bytes=needed,
        tolerated=found.tolerated,
    )
