"""The one error tree of the store.

Everything that the store raises on purpose is a `StoreError`. The engine translates each driver error once,
by its SQLSTATE, and keeps it as ``__cause__``; no message carries a password, a DSN or stored content.

| error | what it means | what a caller does |
| --- | --- | --- |
| `NotFoundError` | no such row, or not this user's | answer 404 |
| `ConflictError` | a unique or other constraint, a stale version, a refused transition | answer 409 |
| `InvalidInputError` | a value was refused; `path` names it | answer 422 |
| `UnavailableError` | nothing was saved, the cause will pass | retry, answer 503 |
| `OutcomeUnknownError` | the answer to a write was lost | read back, or repeat an idempotent write |
| `UnitOfWorkError` | a session was used in a way that cannot work | fix the calling code |
| `SchemaError` | the database lacks a table, a column or a migration | run ``veupath-store migrate`` |
| `ConfigurationError` | a setting is missing or wrong | fix the deployment |
| `AdoptionRefusedError` | not a database that can be adopted | fix what it lists |
| `InternalError` | the server refused a statement of the store's own | report it |

`ConflictError` and `SchemaError` are Tortoise errors too, because Tortoise (``get_or_create``) and aerich (a first
``upgrade``) catch those by type. `UnavailableError` is deliberately not one: aerich takes an ``OperationalError``
for "nothing is applied yet" and would run every migration again.
"""

from collections.abc import Sequence
from typing import Any, Final

from tortoise.exceptions import IntegrityError, OperationalError

_PATH_LENGTH: Final = 200
"""Characters of a path that an error shows: it may hold the keys of somebody's document."""


class StoreError(Exception):
    """Base of every error that the store raises on purpose. Survives ``copy`` and ``pickle``, attributes included.

    Attributes:
        at_commit: Whether COMMIT raised it, after everything had been accepted.
    """

    at_commit: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the constructor with the message, which is not what most constructors here take.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[StoreError], args: tuple[Any, ...], attributes: dict[str, Any]) -> StoreError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class ConfigurationError(StoreError):
    """A setting is missing or wrong, or the server refused the credentials; the message says what to set."""


class NotFoundError(StoreError):
    """No such row, or the row belongs to somebody else: the two look exactly alike.

    Attributes:
        entity: What was looked for, for instance ``"stream"``.
        constraint: The foreign key that was violated, or ``None`` when a lookup found nothing.
    """

    def __init__(self, entity: str, *, constraint: str | None = None) -> None:
        super().__init__(f"No such {entity}.")
        self.entity = entity
        self.constraint = constraint


class ConflictError(StoreError, IntegrityError):
    """The write contradicts what is stored.

    Attributes:
        constraint: The name of the violated constraint, or ``None`` when none was involved.
    """

    def __init__(self, message: str, *, constraint: str | None = None) -> None:
        super().__init__(message)
        self.constraint = constraint


class StaleVersionError(ConflictError):
    """Somebody else saved the document since the caller read it; nothing was changed. Read it again."""

    def __init__(self, entity: str) -> None:
        super().__init__(f"The {entity} was changed by somebody else meanwhile; read it again.")
        self.entity = entity


class PruneRefusedError(ConflictError):
    """The list of live WDK ids would dismiss more conversations than the caller allowed.

    Attributes:
        linked: How many conversations have a WDK id and are not dismissed.
        orphaned: How many of them the list does not name.
    """

    def __init__(self, *, linked: int, orphaned: int) -> None:
        super().__init__(
            f"Refused to dismiss {orphaned} of {linked} WDK-linked conversations: the list of live ids is empty, "
            "or partial, or foreign. If it is right, call dismiss_wdk_orphans with a higher max_share."
        )
        self.linked = linked
        self.orphaned = orphaned


class OperationActiveError(ConflictError):
    """The conversation has an active chat operation: a second one would interleave with it. Nothing was saved."""

    def __init__(self) -> None:
        super().__init__(
            "The conversation has an active operation already; wait for it to end, or cancel it.",
            constraint="operations_chat_key",
        )


class LeaseLostError(ConflictError):
    """The lease has expired, or the operation has ended: whoever held it must stop, and can record nothing."""

    def __init__(self) -> None:
        super().__init__("The lease of the operation is lost; another worker may have it. Stop, and write nothing.")


class InvalidInputError(StoreError, ValueError):
    """A value was refused before (or by) the database.

    Attributes:
        path: The offending value, as in ``plan.root.parameters.organism`` or ``positive_ids[3]``; of a very long one
            the beginning.
        reason: Why it was refused, without the value itself.
    """

    def __init__(self, path: str, reason: str) -> None:
        # A key of a document may hold line breaks and terminal codes, and be as long as the document.
        shown = "".join(character if character.isprintable() else "?" for character in path[:_PATH_LENGTH])
        super().__init__(f"{shown}: {reason}")
        self.path = shown
        self.reason = reason


class UnavailableError(StoreError):
    """Nothing was saved and the cause will pass: the unit of work may be repeated as it is."""


class StoreClosedError(UnavailableError):
    """The store is closing or closed in this process; `init_db` opens it again."""


class WriterFullError(UnavailableError):
    """As many documents as may wait in a `DocumentWriter` do; this one was not taken. Slow down, or await ``flush``."""

    def __init__(self, room: int) -> None:
        super().__init__(f"{room} documents wait to be saved already; this one was not taken. Put it again later.")


class OutcomeUnknownError(StoreError):
    """The connection was lost, or time ran out, while a write or COMMIT was under way.

    It may or may not have been saved. Read back, or repeat the write if it is idempotent.
    """


class UnitOfWorkError(StoreError):
    """A session or transaction was used in a way that cannot work; the message says what to do instead."""


class SwallowedErrorError(UnitOfWorkError):
    """A statement failed, its error was swallowed, and the unit of work went on: PostgreSQL saved nothing."""

    def __init__(self, what: str = "unit of work") -> None:
        super().__init__(
            f"Nothing of this {what} was saved: one of its statements failed and the error was swallowed. "
            "To go on after an error, put the statement in 'async with session.savepoint():' and catch around it."
        )


class SchemaError(StoreError, OperationalError):
    """The database lacks a table, a column or a migration that this version needs."""


class AdoptionRefusedError(StoreError):
    """The database is not one that can be adopted, or not one that can go back; nothing was changed.

    Attributes:
        what: What was refused.
        differences: Everything that stands in the way.
    """

    def __init__(self, differences: Sequence[str], what: str = "The database cannot be adopted") -> None:
        super().__init__(f"{what}, and nothing was changed: {'; '.join(differences)}.")
        self.what = what
        self.differences: tuple[str, ...] = tuple(differences)


class InternalError(StoreError):
    """The server refused a statement of ours: a defect of the store, or a privilege that its role lacks."""
