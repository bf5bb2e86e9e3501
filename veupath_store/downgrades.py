"""Undoing migrations, as patiently as `veupath_store.migrations` applies them.

An older version of the application runs on a newer database, so a deploy that goes back needs none of this.
"""

from aerich.exceptions import DowngradeError

from veupath_store.config import StoreSettings
from veupath_store.engine import StoreClient
from veupath_store.errors import OutcomeUnknownError, SchemaError, StoreError, UnavailableError
from veupath_store.migration_files import migration_files, number_of
from veupath_store.migration_lock import own_client, under_lock
from veupath_store.migrations import aerich_command, applied_migrations, explanation


async def downgrade(to: str, settings: StoreSettings | None = None) -> list[str]:
    """Undo the migrations after a given one, newest first, under the advisory lock and as patiently as `migrate`.

    What a file's ``downgrade`` drops is lost, with all that was written there since. Each file is undone in a
    transaction; those that were undone stay so when a later one fails.

    Args:
        to: The newest file that stays: its name, or the number that leads it.
        settings: Default: from the environment.

    Returns:
        The names of the files that this call undid, in order; empty when there was nothing to undo.

    Raises:
        UnavailableError: As `migrate`.
        SchemaError: There is no such file, the database does not have it, it has files that this version does not
            know, or a file failed.
        OutcomeUnknownError: The connection was lost in COMMIT.
        ConfigurationError: As `migrate`.
    """
    patient = (settings or StoreSettings()).for_migrations()
    target = target_of(to)
    first: list[str] | None = None

    async def work(client: StoreClient) -> list[str]:
        nonlocal first
        undone = await _to_undo(client, target)
        first = undone if first is None else first
        if undone:
            command = await aerich_command(patient)
            try:
                await command.downgrade(int(number_of(undone[-1])), delete=False)
            except DowngradeError as exc:
                raise SchemaError(f"aerich refused to go back to {target}: {exc}.") from exc
            except (UnavailableError, OutcomeUnknownError):
                raise
            except StoreError as exc:
                (failed, *_) = await _to_undo(client, target)
                raise SchemaError(await explanation(client, exc, f"Undoing migration {failed}")) from exc
        return first

    return await under_lock(patient, work)


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
        SchemaError: There is none.
    """
    found = [name for name in migration_files() if to in (name, name.removesuffix(".py"), number_of(name))]
    if not found:
        raise SchemaError(f"There is no migration {to!r}; the newest is {migration_files()[-1]}.")
    return found[0]


async def _to_undo(client: StoreClient, target: str) -> list[str]:
    applied, known = await applied_migrations(client), migration_files()
    unknown = sorted(applied - set(known))
    if unknown:
        raise SchemaError(f"Only the version that brought {', '.join(unknown)} can undo it: run its command first.")
    if target not in applied:
        raise SchemaError(f"The database does not have migration {target}: there is nothing to go back to.")
    return [name for name in reversed(known[known.index(target) + 1 :]) if name in applied]
