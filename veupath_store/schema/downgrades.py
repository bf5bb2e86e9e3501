"""Undoing migrations, as patiently as `veupath_store.schema.migrations` applies them.

An older version of the application runs on a newer database, so a deploy that goes back needs none of this.

aerich's own ``downgrade`` finds its target by a number's first digits, and undoes what was applied after it, in
whatever order the rows come: other files than a list by name says, where one was merged late or two have one number.
Here files are undone by name, one by one, each in a transaction that also removes its record.
"""

from dataclasses import dataclass

from veupath_store.config import StoreSettings
from veupath_store.engine import StoreClient
from veupath_store.engine.statements import NO_STATEMENT
from veupath_store.errors import SchemaError
from veupath_store.schema.files import in_order, load, migration_files, number_of, position
from veupath_store.schema.lock import own_client, under_lock
from veupath_store.schema.migrations import applied_migrations, explained
from veupath_store.schema.names import APP


@dataclass(frozen=True, kw_only=True)
class Downgraded:
    """What `downgrade` did.

    Attributes:
        undone: The files that it undid, in order.
        applied: The files that the database has afterwards, as it says itself; by name.
    """

    undone: list[str]
    applied: list[str]


async def downgrade(
    to: str, settings: StoreSettings | None = None, *, confirmed: list[str] | None = None
) -> Downgraded:
    """Undo the migrations after a given one, newest first, under the advisory lock and as patiently as `migrate`.

    What a file's ``downgrade`` drops is lost, with all that was written there since. Each file is undone in a
    transaction; those that were undone stay so when a later one fails.

    Args:
        to: The newest file that stays: its name, or the number that leads it.
        confirmed: What `undoing` returned, where somebody agreed to that and to nothing else.

    Returns:
        What was undone, nothing where there was nothing to undo, and what is left.

    Raises:
        UnavailableError: As `migrate`.
        SchemaError: There is no such file, or several of that number; the database does not have it, or has files that
            this version does not know; other files would be undone than were confirmed; or a file failed, or has no
            way back.
        OutcomeUnknownError: The connection was lost in COMMIT.
        ConfigurationError: As `migrate`.
    """
    target = target_of(to)
    undone: list[str] = []

    async def work(client: StoreClient) -> Downgraded:
        names = await _to_undo(client, target)
        if confirmed is not None and [*undone, *names] != confirmed:
            raise SchemaError(f"Not what was confirmed: now it would be {', '.join(names) or 'nothing'}. Run it again.")
        for name in names:
            after = f" (after {', '.join(undone)}, which stay undone)" if undone else ""
            async with explained(client, f"Undoing migration {name}{after}"):
                await _undo(client, name)
            undone.append(name)
        return Downgraded(undone=undone, applied=in_order(await applied_migrations(client)))

    return await under_lock((settings or StoreSettings()).for_migrations(), work)


async def undoing(to: str, settings: StoreSettings | None = None) -> list[str]:
    """What `downgrade` would undo, newest first.

    Raises:
        SchemaError: As `downgrade`; and otherwise as it.
    """
    async with own_client((settings or StoreSettings()).for_migrations()) as client:
        return await _to_undo(client, target_of(to))


def target_of(to: str) -> str:
    """The migration that a name or a number means.

    Raises:
        SchemaError: There is none, or the number is that of several.
    """
    found = [name for name in migration_files() if to in (name, name.removesuffix(".py"), number_of(name))]
    if not found:
        raise SchemaError(f"There is no migration {to!r}; the newest is {migration_files()[-1]}.")
    if len(found) > 1:
        raise SchemaError(f"{len(found)} migrations have the number {to}; say which: {', '.join(found)}.")
    return found[0]


async def _to_undo(client: StoreClient, target: str) -> list[str]:
    applied = await applied_migrations(client)
    unknown = in_order(applied - set(migration_files()))
    if unknown:
        raise SchemaError(f"Only the version that brought {', '.join(unknown)} can undo it: run its command first.")
    if target not in applied:
        raise SchemaError(f"The database does not have migration {target}: there is nothing to go back to.")
    return [name for name in reversed(in_order(applied)) if position(name) > position(target)]


async def _undo(client: StoreClient, name: str) -> None:
    migration = load(name)
    async with client.pooled_transaction() as transaction:
        sql = await migration.downgrade(transaction) if hasattr(migration, "downgrade") else ""
        if NO_STATEMENT.fullmatch(sql or ""):
            raise SchemaError("it has no way back.")
        await transaction.execute_script(sql)
        await transaction.execute_query("DELETE FROM aerich WHERE app = $1 AND version = $2", [APP, name])
