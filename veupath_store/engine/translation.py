"""Driver errors become store errors here, once, by their SQLSTATE.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from enum import Enum
from typing import Any, Final

import asyncpg

from veupath_store.errors import (
    ConfigurationError,
    ConflictError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    SchemaError,
    StoreError,
    SwallowedErrorError,
    UnavailableError,
)


class Phase(Enum):
    """What was under way when an error came, which decides what a lost connection means."""

    CONNECT = "connecting"
    READ = "a read"
    IN_TRANSACTION = "a statement of an open transaction"
    AUTOCOMMIT_WRITE = "a write in autocommit"
    COMMIT = "COMMIT"

    @property
    def may_have_saved(self) -> bool:
        """Whether the server may have saved something that we did not hear of."""
        return self in (Phase.AUTOCOMMIT_WRITE, Phase.COMMIT)


DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What asyncpg raises (TimeoutError is an OSError). Anything else is a defect and is not touched."""

_FOREIGN_KEY: Final = "23503"
_NOT_NULL: Final = "23502"
_UNIQUE: Final = frozenset({"23505", "23P01"})
_IN_FAILED_TRANSACTION: Final = "25P02"
# The server says that it does not know either, or it ended the connection.
_LOST: Final = frozenset({"40003", "57P01", "57P02", "57P05", "25P03", "25P04"})
_PASSING: Final = frozenset({"25006", "55P03", "55006", "57014", "57P03", "58000", "58030"})
_PASSING_CLASSES: Final = frozenset({"40", "53"})
_SCHEMA: Final = frozenset({"42P01", "42703", "42883", "42704", "3F000"})
_REFUSED_CLASSES: Final = frozenset({"22", "54"})
_CREDENTIALS: Final = frozenset({"28000", "28P01", "3D000", "42501"})

_REASONS: Final = {
    "40001": "it could not be serialised with a concurrent transaction",
    "40P01": "it was the victim of a deadlock",
    "55P03": "a lock was not free within the lock timeout",
    "57014": "it was cancelled, as by the statement timeout",
    "25006": "the server is read-only, as a standby is after a failover",
    "57P03": "the server is starting up or shutting down",
}


def translate(error: BaseException, phase: Phase, *, connected: bool = False) -> StoreError:
    """The store's error for a driver's error.

    Stored values are removed from the driver's error, so that it can be logged as the ``__cause__``.

    Args:
        error: One of `DRIVER_ERRORS`.
        phase: What was under way.
        connected: Whether the connection is known to have outlived the error. Then an `InterfaceError` is asyncpg's
            refusal of the call, and the server has seen nothing.
    """
    translated = _translated(error, phase, connected=connected)
    if phase is Phase.COMMIT:
        translated.at_commit = True
    return translated


# An operator ended the session, the server shuts down or starts, or it ended after a crash.
_GOING: Final = frozenset({"57P01", "57P02", "57P03"})
_READ_ONLY: Final = "25006"


def is_elsewhere(error: BaseException, settings: Any) -> bool:  # noqa: ANN401 - asyncpg has no types
    """Whether an error says that the server is gone, silent or read-only: another host, or a new connection, may do.

    By the settings that the server has last reported of the connection (``None`` where it was lost), a transaction
    that the caller made read-only is distinguished from a server that takes no writes.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return isinstance(error, OSError) or settings is None
    code = error.sqlstate or ""
    if code == _READ_ONLY:
        # PgBouncer does not report it; then it is assumed.
        standby = getattr(settings, "in_hot_standby", "on")
        return "on" in (standby, getattr(settings, "default_transaction_read_only", "off"))
    return code in _GOING or code.startswith("08")


def _translated(error: BaseException, phase: Phase, *, connected: bool) -> StoreError:
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        _scrub(error)
        return _by_sqlstate(error, phase)
    if isinstance(error, asyncpg.InterfaceError) and (connected or isinstance(error, ValueError)):
        return InternalError(f"asyncpg refused {phase.value} as it was called; nothing was sent to the server.")
    if isinstance(error, TimeoutError):
        return _lost(phase, "the server did not answer within the command timeout")
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError):
        return _lost(phase, "the connection was lost" if phase is not Phase.CONNECT else "no connection was made")
    return InternalError(f"Unexpected {type(error).__name__} during {phase.value}.")


def _lost(phase: Phase, why: str) -> StoreError:
    if phase.may_have_saved:
        return OutcomeUnknownError(f"It is not known whether {phase.value} was saved: {why}.")
    return UnavailableError(f"Nothing was saved by {phase.value}: {why}. It may be repeated.")


def _by_sqlstate(error: asyncpg.PostgresError, phase: Phase) -> StoreError:
    code = error.sqlstate
    if code.startswith("23"):
        return _constraint(error)
    if code in _LOST or code.startswith("08"):
        return _lost(phase, "the server ended the connection")
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        # asyncpg has forgotten its prepared statements, and repeats by itself what is outside of a transaction.
        return UnavailableError(
            f"Nothing was saved by {phase.value}: a migration changed its table. It may be repeated."
        )
    if code in _PASSING or code[:2] in _PASSING_CLASSES:
        reason = _REASONS.get(code, f"the server refused it for now (SQLSTATE {code})")
        return UnavailableError(f"Nothing was saved by {phase.value}: {reason}. It may be repeated.")
    return _refused(code, error.column_name)


def _refused(code: str, column: str | None) -> StoreError:
    """What repeating the call would not cure."""
    if code[:2] in _REFUSED_CLASSES:
        return InvalidInputError(column or "value", f"the database refused it (SQLSTATE {code})")
    if code == _IN_FAILED_TRANSACTION:
        return SwallowedErrorError()
    if code in _SCHEMA:
        return SchemaError(
            f"The database lacks something that this version needs (SQLSTATE {code}): run 'veupath-store migrate'."
        )
    if code in _CREDENTIALS:
        return ConfigurationError(
            f"The server refused the role, its password, the database or a privilege (SQLSTATE {code}): "
            "check DATABASE_URL and the role's grants."
        )
    return InternalError(f"The server refused a statement (SQLSTATE {code}).")


def _constraint(error: asyncpg.PostgresError) -> StoreError:
    name = error.constraint_name
    if error.sqlstate == _FOREIGN_KEY:
        return NotFoundError(_referenced(name), constraint=name)
    if error.sqlstate == _NOT_NULL:
        return InvalidInputError(error.column_name or "value", "a value is needed")
    if error.sqlstate in _UNIQUE:
        return ConflictError(f"It is there already ({name}).", constraint=name)
    return InvalidInputError(error.table_name or "value", f"it violates {name}")


def _referenced(constraint: str | None) -> str:
    """``operations_stream_fkey`` says which entity is missing: a stream."""
    for entity in ("gene_set", "stream", "user"):
        if constraint is not None and f"_{entity}_" in constraint:
            return entity.replace("_", " ")
    return "referenced row"


def _scrub(error: asyncpg.PostgresError) -> None:
    """Take stored values out of the error: its detail, and for data errors its message, show them."""
    error.detail = None
    error.hint = None
    error.context = None
    error.query = None
    # For an argument that asyncpg refuses, its codec's error, which may show the argument.
    error.__cause__ = None
    error.__context__ = None
    if error.sqlstate and error.sqlstate[:2] in ("22", "23"):
        error.args = (f"SQLSTATE {error.sqlstate}, constraint {error.constraint_name}",)
