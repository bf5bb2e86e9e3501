"""Why a host did not accept a connection: what no repeat can cure, what may pass, and what to do for each."""

import errno
import socket
import ssl

import asyncpg
import pytest

from veupath_store.engine.translation import CONNECT_ERRORS, refusal
from veupath_store.errors import ConfigurationError, UnavailableError


def said(code: str, message: str = "what the server said", function: str | None = None) -> asyncpg.PostgresError:
    """An error as a server sends it."""
    fields = {"S": "FATAL", "C": code, "M": message} | ({"R": function} if function else {})
    return asyncpg.PostgresError.new(fields)


def unverified(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "what OpenSSL said"
    return error


def handshake(reason: str) -> ssl.SSLError:
    return ssl.SSLError(1, f"[SSL: {reason}] in small letters (_ssl.c:1006)")


def closed(cause: Exception) -> asyncpg.ConnectionDoesNotExistError:
    error = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    error.__cause__ = cause
    return error


PERMANENT = {
    "password": (said("28P01"), "refused the role or its password", "PGPASSWORD"),
    "pg_hba": (said("28000", function="ClientAuthentication"), "refused this client", "pg_hba.conf"),
    "peer": (said("28000", function="auth_failed"), "could not authenticate the role", "pg_hba.conf expects"),
    "role": (said("28000", function="InitializeSessionUserId"), "no such role", "create it with LOGIN"),
    "no function": (said("28000"), "refused this client", "pg_hba.conf"),
    "database": (said("3D000"), "no such database", "Create the database"),
    "privilege": (said("42501", function="CheckMyDatabase"), "may not use the database", "GRANT CONNECT"),
    "setting": (said("42501", function="set_config_option"), "may not change a session setting", "options"),
    "unknown setting": (said("42704"), "does not know a session setting", "options"),
    "PgBouncer": (
        said("08P01", "unsupported startup parameter: statement_timeout"),
        "refuses session settings",
        "VEUPATH_STORE_PGBOUNCER=true",
    ),
    "PgBouncer's database": (said("08P01", "no such database: x"), "no such database", "Create the database"),
    "PgBouncer's user": (said("08P01", "no such user: x"), "refused the role", "in the URL"),
    "expired": (unverified(10), "has expired", "new certificate"),
    "not yet": (unverified(9), "not valid yet", "clock"),
    "host name": (unverified(62), "another host name", "sslmode=verify-ca"),
    "address": (unverified(64), "another host name", "sslmode=verify-ca"),
    "authority": (unverified(20), "could not be verified", "sslrootcert"),
    "key usage": (unverified(92), "RFC 5280", "since 3.13"),
    "client certificate": (handshake("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "client certificate", "sslcert and sslkey"),
    "client's authority": (handshake("TLSV1_ALERT_UNKNOWN_CA"), "client certificate", "sslcert and sslkey"),
    "client's authority in TLS 1.3": (closed(handshake("TLSV1_ALERT_UNKNOWN_CA")), "client certificate", "sslcert"),
    "version": (handshake("UNSUPPORTED_PROTOCOL"), "no version of TLS", "PGSSLMINPROTOCOLVERSION"),
    "another protocol": (handshake("WRONG_VERSION_NUMBER"), "no version of TLS", "port"),
    "key of another": (handshake("KEY_VALUES_MISMATCH"), "file of TLS cannot be used", "belong together"),
    "passphrase": (ssl.SSLError(524297, "[SSL] PEM lib (_ssl.c:3926)"), "file of TLS", "sslpassword"),
    "no TLS": (ConnectionError("PostgreSQL server at h rejected SSL upgrade"), "does not offer TLS", "sslmode=disable"),
    "no file": (FileNotFoundError(errno.ENOENT, "No such file"), "file of TLS is missing", "PGSSL"),
    "foreign file": (PermissionError(errno.EACCES, "Permission denied"), "file of TLS", "HOME"),
    "driver": (asyncpg.InterfaceError("sslmode must be"), "sslmode must be", "PG… variables"),
    "name": (UnicodeError("label empty or too long"), "no host name", "Correct the host"),
}

PASSING = {
    "starting": (said("57P03"), "not ready", "Wait"),
    "closed database": (said("55000"), "admits no one", "Allow connections"),
    "ended": (said("57P01"), "SQLSTATE 57P01", "the server's log"),
    "unknown": (said("XX000"), "SQLSTATE XX000", "the server's log"),
    "a pooler's other reasons": (said("08P01", "query_wait_timeout"), "query_wait_timeout", "log"),
    "closed": (asyncpg.ConnectionDoesNotExistError("closed in the middle"), "closed the connection", "log"),
    "closed by a reset": (closed(ConnectionResetError()), "closed the connection", "log"),
    "reset": (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "closed the connection", "log"),
    "closed in silence": (ConnectionResetError(), "closed the connection", "log"),
    "end of TLS": (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "closed the connection", "log"),
    "another fault of TLS": (handshake("TLSV1_ALERT_INTERNAL_ERROR"), "TLSV1_ALERT_INTERNAL_ERROR", "log"),
    "refused": (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "refused", "Start the server"),
    "refused twice": (OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b"), "refused", "Start the server"),
    "refused once": (OSError("Multiple exceptions: [Errno 101] a, [Errno 111] b"), "refused", "Start the server"),
    "firewall": (PermissionError(errno.EPERM, "Connect call failed"), "no connection was made", "network"),
    "unreachable": (OSError(errno.EHOSTUNREACH, "No route to host"), "no network leads there", "firewalls"),
    "silent": (TimeoutError(), "no answer within 0.04 s", "firewall"),
    "silent network": (TimeoutError(errno.ETIMEDOUT, "timed out"), "no answer within 0.04 s", "firewall"),
    "no such host": (socket.gaierror(socket.EAI_NONAME, "unknown"), "no host of this name", "Correct the host"),
    "silent resolver": (socket.gaierror(socket.EAI_AGAIN, "for now"), "could not be looked up", "name server"),
    "attributes": (asyncpg.TargetServerAttributeNotMatched("none"), "target_session_attrs", "promote"),
    "protocol": (asyncpg.InternalClientError("unexpected message"), "unexpected message", "URL"),
}  # fmt: skip


CASES = [(ConfigurationError, *case) for case in PERMANENT.values()]
CASES += [(UnavailableError, *case) for case in PASSING.values()]


@pytest.mark.parametrize(("kind", "fault", "why", "remedy"), CASES, ids=[*PERMANENT, *PASSING])
def test_a_fault_says_which_it_is_and_what_to_do(kind, fault, why, remedy):
    error = refusal(fault, "db.example.org", 5433, 0.04)
    assert isinstance(fault, CONNECT_ERRORS)
    assert type(error) is kind
    reason, _, advice = str(error).partition(". ")
    assert reason.startswith("db.example.org:5433: ")
    assert why in reason
    assert remedy in advice
    assert advice.endswith(".")


@pytest.mark.parametrize(
    ("fault", "kind", "why"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file"), UnavailableError, "there is no server's socket"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), UnavailableError, "no server listens there"),
        (PermissionError(errno.EACCES, "denied"), ConfigurationError, "may not use the server's socket"),
    ],
)
def test_a_missing_socket_is_no_missing_certificate(fault, kind, why):
    error = refusal(fault, "/run/postgresql", 5432, 0)
    assert type(error) is kind
    assert str(error).startswith(
        f"/run/postgresql:5432: {why}" if why.startswith("there") else "/run/postgresql:5432: "
    )
    assert why in str(error)


def test_the_words_of_a_server_are_short_and_plain():
    error = refusal(said("28000", "no\x1b[31m entry\nin pg_hba.conf" + "x" * 10_000), "h", 1, 0)
    assert "no?[31m entry. " in str(error)
    assert len(str(refusal(said("28000", "x" * 10_000), "h", 1, 0))) < 1_000
