"""Reading `DATABASE_URL`: what it may look like, and an error that says what to set when it does not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from veupath_store.servers import urls

DEFAULT_PORT: Final = 5432
SCHEMES: Final = ("postgres", "postgresql", "postgresql+asyncpg")
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SESSION_ATTRS: Final = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")
VERIFYING_MODES: Final = ("require", "verify-ca", "verify-full")
SYSTEM_AUTHORITIES: Final = "system"
"""What sslrootcert is for the certificate authorities that the machine trusts."""
DRIVER_OPTIONS: Final = (
    *("options", "passfile"),
    *("sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslnegotiation"),
)
PARAMETERS: Final = (
    *("host", "port", "user", "password", "dbname", "application_name", "target_session_attrs", "connect_timeout"),
    *("sslmode", "channel_binding", "gssencmode", *DRIVER_OPTIONS),
)
# What libraries and providers put into URLs that stands elsewhere here.
_INSTEAD: Final = {
    **dict.fromkeys(("ssl", "sslaccept"), "write sslmode=require, or sslmode=verify-full to verify the server"),
    "ssl_min_protocol_version": "set the variable PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "set the variable PGSSLMAXPROTOCOLVERSION",
    "pgbouncer": "set VEUPATH_STORE_PGBOUNCER=true",
    **dict.fromkeys(("connection_limit", "pool_size"), "set VEUPATH_STORE_POOL_MAX_SIZE"),
    "pool_timeout": "set VEUPATH_STORE_ACQUIRE_TIMEOUT",
    **dict.fromkeys(("schema", "search_path"), "write options=-csearch_path%3DNAME"),
    **dict.fromkeys(("service", "servicefile"), "write into the URL what the service's file says"),
    **dict.fromkeys(
        ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        "remove it: the store sets keep-alives itself",
    ),
}
_LONGEST_TIMEOUT: Final = 86_400
HOW_TO_SET: Final = (
    "Set DATABASE_URL to postgresql://USER:PASSWORD@HOST:PORT/DATABASE for a running server, "
    "or to embedded:PATH to start the embedded server on that data directory."
)


@dataclass(frozen=True, kw_only=True)
class DatabaseTarget:
    """Where the database is, read from a URL; what is ``None`` is left to the driver and its ``PG…`` variables."""

    hosts: tuple[tuple[str, int], ...] = ()  # tried in this order; one that starts with / is a socket directory
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str = "postgres"
    sslmode: str | None = None
    driver_options: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold the passphrase of a key
    connect_timeout: float | None = None  # seconds for each host, where the settings do not say
    target_session_attrs: str = "any"
    application_name: str | None = None
    embedded: Path | None = None  # the data directory of the embedded server


def parse_database_url(url: str) -> DatabaseTarget:
    """Read a database URL.

    Args:
        url: ``embedded:PATH``, or a ``postgres://``, ``postgresql://`` or ``postgresql+asyncpg://`` URL with one or
            several hosts (``h1:5432,h2:5433``) and the parameters of `PARAMETERS`.

    Raises:
        ValueError: The URL cannot be used; the message says why and never shows the URL.
    """
    url = url.strip()  # a mounted secret ends with a line break
    if (directory := urls.embedded_directory(url, HOW_TO_SET)) is not None:
        return DatabaseTarget(user="postgres", embedded=directory)
    parts = urls.split_url(url, SCHEMES, HOW_TO_SET)
    options = _options(parts.query)
    database = options.get("dbname") or unquote(parts.path)
    if not database:
        raise ValueError(f"it names no database. {HOW_TO_SET}")
    default_port = urls.port_number(options.get("port") or str(DEFAULT_PORT))
    hosts = (options.get("host") or parts.hosts or "localhost").split(",")
    return DatabaseTarget(
        hosts=tuple(_host(item, default_port) for item in hosts),
        user=options.get("user") or parts.user or None,
        password=options.get("password") or parts.password or None,
        database=database,
        target_session_attrs=urls.one_of("target_session_attrs", options.get("target_session_attrs"), SESSION_ATTRS)
        # The store writes: a standby beside the primary is for the time when it is promoted.
        or ("read-write" if len(hosts) > 1 else "any"),
        application_name=options.get("application_name"),
        connect_timeout=_timeout(options.get("connect_timeout")),
        sslmode=options.get("sslmode"),
        driver_options={name: options[name] for name in DRIVER_OPTIONS if name in options},
    )


def _options(query: str) -> Mapping[str, str]:
    known = f"known are {', '.join(PARAMETERS)}. Pool sizes and timeouts are set by VEUPATH_STORE_* variables"
    options = urls.parameters(query, PARAMETERS, _INSTEAD, known)
    urls.one_of("gssencmode", options.get("gssencmode"), ("disable", "prefer"))  # the driver has no such encryption
    urls.one_of("sslnegotiation", options.get("sslnegotiation"), ("postgres", "direct"))
    return _with_verification(options)


def _with_verification(options: dict[str, str]) -> Mapping[str, str]:
    """The same parameters, with the ``sslmode`` that the others ask for.

    The driver cannot bind channels. What binding is for, a server that no one stands in for, a verified certificate
    gives as well.
    """
    hint = "; no-verify is called require here" if options.get("sslmode") == "no-verify" else ""
    mode = urls.one_of("sslmode", options.get("sslmode"), SSL_MODES, hint)
    binding = urls.one_of("channel_binding", options.get("channel_binding"), ("disable", "prefer", "require"))
    authorities = options.get("sslrootcert")
    if binding == "require" and authorities is None and mode not in ("disable", "verify-ca", "verify-full"):
        return {**options, "sslmode": "verify-full", "sslrootcert": SYSTEM_AUTHORITIES}
    if binding == "require" and mode not in VERIFYING_MODES:
        raise ValueError("channel_binding=require needs TLS with a verified certificate: write sslmode=verify-full")
    if authorities == SYSTEM_AUTHORITIES:
        urls.one_of(f"with sslrootcert={SYSTEM_AUTHORITIES}, sslmode", mode, ("verify-full",))
        return {**options, "sslmode": "verify-full"}
    if authorities and mode not in VERIFYING_MODES:
        raise ValueError(f"sslrootcert needs an sslmode out of {', '.join(VERIFYING_MODES)}")
    return options


def _timeout(text: str | None) -> float | None:
    message = f"connect_timeout must be whole seconds, 1 to {_LONGEST_TIMEOUT}"
    return None if text is None else float(urls.whole_number(text, 1, _LONGEST_TIMEOUT, message))


def _host(item: str, default_port: int) -> tuple[str, int]:
    if item.startswith("/"):
        return item, default_port
    host, port = urls.host_and_port(item, default_port)
    if not host:
        raise ValueError("a host is empty; separate several hosts by one comma")
    return host, port
