"""Driver errors become store errors here, once: those of statements, and those of connecting to one host.

Both go by the SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import re
import ssl
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
from veupath_store.servers.network_faults import LOST, Reason, TlsOptions, handshake_reason, network_reason, quoted


class Phase(Enum):
    """What was under way when an error came, which decides what a lost connection means."""

    READ = "a read"
    IN_TRANSACTION = "a statement of an open transaction"
    AUTOCOMMIT_WRITE = "a write in autocommit"
    COMMIT = "COMMIT"


DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What asyncpg raises (a TimeoutError is an OSError). Anything else is a defect and is not touched."""

# The server says that it does not know either, or it ended the connection.
_ENDED: Final = frozenset({"40003", "57P01", "57P02", "57P05", "25P03", "25P04"})
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


def is_elsewhere(error: BaseException, settings: Any) -> bool:  # noqa: ANN401 - asyncpg has no types
    """Whether an error says that the server is gone, silent or read-only: another host, or a new connection, may do.

    By the settings that the server has last reported of the connection (``None`` where it was lost), a transaction
    that the caller made read-only is distinguished from a server that takes no writes.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return isinstance(error, OSError) or settings is None
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        # PgBouncer does not report it; then it is assumed.
        standby = getattr(settings, "in_hot_standby", "on")
        return "on" in (standby, getattr(settings, "default_transaction_read_only", "off"))
    code = error.sqlstate or ""
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
        return _lost(phase, "the connection was lost")
    return InternalError(f"Unexpected {type(error).__name__} during {phase.value}.")


def _lost(phase: Phase, why: str) -> StoreError:
    if phase in (Phase.AUTOCOMMIT_WRITE, Phase.COMMIT):
        return OutcomeUnknownError(f"It is not known whether {phase.value} was saved: {why}.")
    return _not_saved(phase, why)


def _not_saved(phase: Phase, why: str) -> StoreError:
    return UnavailableError(f"Nothing was saved by {phase.value}: {why}. It may be repeated.")


def _by_sqlstate(error: asyncpg.PostgresError, phase: Phase) -> StoreError:
    code = error.sqlstate
    if code.startswith("23"):
        return _constraint(error)
    if code in _ENDED or code.startswith("08"):
        return _lost(phase, "the server ended the connection")
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        # asyncpg has forgotten its prepared statements, and repeats by itself what is outside of a transaction.
        return _not_saved(phase, "a migration changed its table")
    if code in _PASSING or code[:2] in _PASSING_CLASSES:
        return _not_saved(phase, _REASONS.get(code, f"the server refused it for now (SQLSTATE {code})"))
    return _refused(error)


def _refused(error: asyncpg.PostgresError) -> StoreError:
    """What repeating the call would not cure."""
    code = error.sqlstate
    if code[:2] in _REFUSED_CLASSES:
        return InvalidInputError(error.column_name or "value", f"the database refused it (SQLSTATE {code})")
    if isinstance(error, asyncpg.InFailedSQLTransactionError):
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
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return NotFoundError(_referenced(name), constraint=name)
    if isinstance(error, asyncpg.NotNullViolationError):
        return InvalidInputError(error.column_name or "value", "a value is needed")
    if isinstance(error, asyncpg.UniqueViolationError | asyncpg.ExclusionViolationError):
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


CONNECT_ERRORS: Final = (*DRIVER_ERRORS, UnicodeError)
"""What ``asyncpg.connect`` raises for a host that it did not reach. Of host names it makes IDNA: a `UnicodeError`."""

_OTHER_CLIENT: Final = "Admit this client in the server's pg_hba.conf, or in the provider's list of allowed addresses"
_SETTINGS: Final = "Correct options in the URL"

# By SQLSTATE, and by the server's function where the same code means several things: its messages may be translated.
_REFUSED_BY: Final[dict[tuple[str, str | None], Reason]] = {
    ("28P01", None): Reason(
        "it refused the role or its password",
        "Correct both in the URL. A password that is not in the URL comes from PGPASSWORD or from the password file "
        "(PGPASSFILE, ~/.pgpass), which only this user may read (mode 0600)",
    ),
    ("28000", None): Reason(
        "it refused this client",
        f"{_OTHER_CLIENT}. It may ask for TLS (sslmode=require) or for a client certificate (sslcert and sslkey)",
    ),
    ("28000", "auth_failed"): Reason(
        "it could not authenticate the role",
        "Connect as the role that the server's pg_hba.conf expects of this user or client certificate, or let it ask "
        "for a password (scram-sha-256)",
    ),
    ("28000", "InitializeSessionUserId"): Reason(
        "it has no such role that may log in", "Correct the role in the URL, or create it with LOGIN"
    ),
    ("3D000", None): Reason("it has no such database", "Create the database, or correct its name in the URL"),
    ("42501", "CheckMyDatabase"): Reason(
        "the role may not use the database", "Run GRANT CONNECT ON DATABASE for this role"
    ),
    ("42501", None): Reason("the role may not change a session setting", _SETTINGS),
    ("42704", None): Reason("it does not know a session setting", _SETTINGS),
    ("42601", None): Reason("it cannot read the session settings", _SETTINGS),
    ("22023", None): Reason("it refused the value of a session setting", _SETTINGS),
    ("55P02", None): Reason("it lets no one change a session setting", _SETTINGS),
    ("55000", None): Reason("it admits no one to the database", "Allow connections to it", is_permanent=False),
    ("57P03", None): Reason("it is not ready", "Wait until it has started", is_permanent=False),
}

# PgBouncer's messages, which are never translated; older ones have this code for all of them.
_POOLER: Final = "08P01"
_REFUSED_BY_POOLER: Final = (
    (
        re.compile("unsupported startup parameter"),
        Reason("it refuses session settings, as a PgBouncer does", "Set VEUPATH_STORE_PGBOUNCER=true"),
    ),
    (re.compile("no such database"), _REFUSED_BY["3D000", None]),
    (re.compile("no such user|authentication failed|auth failed"), _REFUSED_BY["28P01", None]),
)

_OPTIONS: Final = TlsOptions(
    authority="sslrootcert to the file of the authority that signed it; sslrootcert=system means this machine's "
    "authorities",
    certificate="sslcert and sslkey",
    files="sslcert, sslkey, sslrootcert and sslcrl, or the PGSSL… variables",
    any_name="sslmode=verify-ca",
    versions="Make PGSSLMINPROTOCOLVERSION and PGSSLMAXPROTOCOLVERSION fit the server, and see that the port is that "
    "of a PostgreSQL server",
    locked=", and that sslpassword opens the key",
    home=", and that ~/.postgresql can be read; HOME may be that of another user",
)

_NO_TLS: Final = Reason("it does not offer TLS", "Turn TLS on there (ssl = on), or use sslmode=disable or prefer")

# The server's functions that count connections; their messages are translated into the server's language.
_LIMITS: Final = {
    "InitializeSessionUserId": "the role's CONNECTION LIMIT",
    "CheckMyDatabase": "the database's CONNECTION LIMIT",
}


class ConnectionLimitError(UnavailableError):
    """A server answers, and allows no more connections than there are."""


def refusal(error: BaseException, host: str, port: int, seconds: float) -> StoreError:
    """The store's error for one of `CONNECT_ERRORS`, with which an attempt to connect to a host failed after `seconds`.

    Returns:
        A `ConfigurationError` for what no repeat can cure, otherwise an `UnavailableError`, to raise ``from`` the
        given one. It names the host, the reason and what to do; of a limit of connections, which one it is.
    """
    if limit := _limit(error):
        return ConnectionLimitError(f"{host}:{port}: {limit} is reached.")
    reason = _reason(error, seconds, is_socket=host.startswith("/"))
    kind = ConfigurationError if reason.is_permanent else UnavailableError
    return kind(reason.sentence(f"{host}:{port}"))


def _limit(error: BaseException) -> str | None:
    """Which limit of connections an error is about, by the operator's name for it."""
    if not isinstance(error, asyncpg.PostgresError):
        return None
    if error.sqlstate == "53300":
        return _LIMITS.get(error.server_source_function or "", "max_connections")
    is_of_pooler = "no more connections allowed" in str(error) or "connections exceeded" in str(error)
    return "PgBouncer's max_client_conn" if is_of_pooler else None


def _reason(error: BaseException, seconds: float, *, is_socket: bool) -> Reason:
    if isinstance(error, asyncpg.PostgresError):
        return _by_server(error)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _by_driver(error)
    if isinstance(error, TimeoutError):
        remedy = "See that the server runs, and that no firewall drops what is sent to this port"
        return Reason(f"no answer within {seconds:.3g} s", remedy, is_permanent=False)
    if "rejected SSL upgrade" in str(error):
        return _NO_TLS
    return network_reason(error, _OPTIONS, is_socket=is_socket)


def _by_server(error: asyncpg.PostgresError) -> Reason:
    """What the server said, in its own words too: they name the role, the database and the address that it saw."""
    code, said = error.sqlstate or "", quoted(error)
    reason = _REFUSED_BY.get((code, error.server_source_function)) or _REFUSED_BY.get((code, None))
    if code == _POOLER:
        reason = next((reason for words, reason in _REFUSED_BY_POOLER if words.search(said)), None)
    elif isinstance(error, asyncpg.PostgresConnectionError):
        # A server that refuses a client's certificate says so after TLS 1.3 is done, to whoever reads next.
        return handshake_reason(error.__cause__, _OPTIONS) if isinstance(error.__cause__, ssl.SSLError) else LOST
    if reason is None:
        reason = Reason(f"it refused the connection (SQLSTATE {code})", "See the server's log", is_permanent=False)
    return reason._replace(why=f"{reason.why}: {said}")


def _by_driver(error: Exception) -> Reason:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        why = (
            "it is not what target_session_attrs asks for (read-write for several hosts, unless the URL says otherwise)"
        )
        return Reason(why, "Name a host that is, or promote this one", is_permanent=False)
    why = f"it cannot be connected to as asked: {quoted(error)}"
    return Reason(why, "Correct the URL or the PG… variables", isinstance(error, asyncpg.InterfaceError))
