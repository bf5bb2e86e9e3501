"""Why one host did not accept a connection: which store error that is, and a sentence that says what to do.

`ConfigurationError` is for what no repeat can cure. Whatever may pass by itself, as a name server's silence or a port
on which no server listens yet, is `UnavailableError`.
"""

import re
import ssl
from typing import Final

import asyncpg

from veupath_store.engine.translation import DRIVER_ERRORS
from veupath_store.errors import ConfigurationError, StoreError, UnavailableError
from veupath_store.servers.network_faults import LOST, Reason, TlsOptions, handshake_reason, network_reason, quoted

CONNECT_ERRORS: Final = (*DRIVER_ERRORS, UnicodeError)
"""What ``asyncpg.connect`` raises for a host that it did not reach. Of host names it makes IDNA: a `UnicodeError`."""
_OTHER_CLIENT: Final = "Admit this client in the server's pg_hba.conf, or in the provider's list of allowed addresses"
_SETTINGS: Final = "Correct options in the URL"

# By SQLSTATE, and by the server's function where the same code means several things: its messages may be translated.
_BY_SQLSTATE: Final[dict[tuple[str, str | None], Reason]] = {
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
_BY_POOLER: Final = (
    (
        re.compile("unsupported startup parameter"),
        Reason("it refuses session settings, as a PgBouncer does", "Set VEUPATH_STORE_PGBOUNCER=true"),
    ),
    (re.compile("no such database"), _BY_SQLSTATE["3D000", None]),
    (re.compile("no such user|authentication failed|auth failed"), _BY_SQLSTATE["28P01", None]),
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
    reason = _BY_SQLSTATE.get((code, error.server_source_function)) or _BY_SQLSTATE.get((code, None))
    if code == _POOLER:
        reason = next((reason for words, reason in _BY_POOLER if words.search(said)), None)
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
