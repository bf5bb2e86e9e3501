"""Reading `DATABASE_URL`: what it may look like, and an error that says what to set when it does not."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

from veupath_store.errors import ConfigurationError

EMBEDDED_PREFIX: Final = "embedded:"
DEFAULT_PORT: Final = 5432
SCHEMES: Final = ("postgres", "postgresql", "postgresql+asyncpg")
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SESSION_ATTRS: Final = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")
ROOT_CERTIFICATE_MODES: Final = ("require", "verify-ca", "verify-full")
PARAMETERS: Final = ("host", "port", "sslmode", "sslrootcert", "target_session_attrs", "application_name")
_ESCAPE: Final = "percent-encode special characters of the user, the password and the database, as %40 for @"
HOW_TO_SET: Final = (
    "Set DATABASE_URL to postgresql://USER:PASSWORD@HOST:PORT/DATABASE for a running server, "
    "or to embedded:PATH to start the embedded server on that data directory."
)


@dataclass(frozen=True, kw_only=True)
class DatabaseTarget:
    """Where the database is, read from a URL.

    Attributes:
        hosts: Pairs of host and port, tried in this order. A host that starts with ``/`` is a socket directory.
        user: The role, or ``None`` for the driver's default (``PGUSER``, the system user).
        password: Never shown by ``repr``; ``None`` for the driver's default (``PGPASSWORD``, ``.pgpass``).
        database: The database's name.
        sslmode: As in libpq; ``None`` for the driver's default (``prefer``).
        sslrootcert: A file of certificate authorities for ``verify-ca`` and ``verify-full``.
        target_session_attrs: Which of several hosts is wanted, as in libpq.
        application_name: Shown by ``pg_stat_activity``.
        embedded: The data directory of the embedded server, or ``None`` for a running server.
    """

    hosts: tuple[tuple[str, int], ...] = ()
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str = "postgres"
    sslmode: str | None = None
    sslrootcert: Path | None = None
    target_session_attrs: str = "any"
    application_name: str | None = None
    embedded: Path | None = None

    def ssl(self) -> str | ssl.SSLContext | None:
        """What asyncpg takes as its ``ssl`` argument.

        Raises:
            ConfigurationError: The file of certificate authorities cannot be read.
        """
        if self.sslrootcert is None:
            return self.sslmode
        try:
            context = ssl.create_default_context(cafile=str(self.sslrootcert))
        except OSError as exc:
            raise ConfigurationError(
                "sslrootcert in DATABASE_URL must be a readable file of PEM certificates, "
                f"and {self.sslrootcert} is not."
            ) from exc
        context.check_hostname = self.sslmode == "verify-full"
        return context


def parse_database_url(url: str) -> DatabaseTarget:
    """Read a database URL.

    Args:
        url: ``embedded:PATH``, or a ``postgres://``, ``postgresql://`` or ``postgresql+asyncpg://`` URL with one or
            several hosts (``h1:5432,h2:5433``) and the parameters of `PARAMETERS`.

    Returns:
        The target.

    Raises:
        ValueError: The URL cannot be used; the message says why and never shows the URL.
    """
    url = url.strip()  # a mounted secret ends with a line break
    if url.startswith(EMBEDDED_PREFIX):
        directory = embedded_directory(url.removeprefix(EMBEDDED_PREFIX), HOW_TO_SET)
        return DatabaseTarget(user="postgres", embedded=directory)
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"its scheme must be one of {', '.join(SCHEMES)}, embedded. {HOW_TO_SET}")
    return _server_target(rest)


def embedded_directory(path: str, how_to_set: str) -> Path:
    """The data directory that stands after ``embedded:``, of whichever server.

    Args:
        path: What stands there.
        how_to_set: What to say of the variable where there is nothing.

    Raises:
        ValueError: It is no path.
    """
    if not path:
        raise ValueError(f"embedded: needs a data directory. {how_to_set}")
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, ValueError):
        raise ValueError("the path after embedded: is none, or names an unknown home directory") from None


def _server_target(rest: str) -> DatabaseTarget:
    """Read what follows the scheme. Not with ``urlsplit``: whether it takes several hosts depends on the Python."""
    location, _, query = rest.partition("?")
    authority, _, path = location.partition("/")
    if "@" in path or "@" in query or "\0" in unquote(rest):
        # A raw / or ? in a password ends up here: nothing of it may be shown.
        raise ValueError(f"it cannot be taken apart: {_ESCAPE}. {HOW_TO_SET}")
    options = _options(query)
    userinfo, _, hostinfo = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    if not path:
        raise ValueError(f"it names no database. {HOW_TO_SET}")
    default_port = _port(options.get("port") or str(DEFAULT_PORT))
    sslmode = _one_of("sslmode", options.get("sslmode"), SSL_MODES)
    root_certificates = options.get("sslrootcert")
    if root_certificates and sslmode not in ROOT_CERTIFICATE_MODES:
        raise ValueError(f"sslrootcert needs an sslmode out of {', '.join(ROOT_CERTIFICATE_MODES)}")
    hosts = (options.get("host") or hostinfo or "localhost").split(",")
    return DatabaseTarget(
        hosts=tuple(_host(item, default_port) for item in hosts),
        user=unquote(user) or None,
        password=unquote(password) or None,
        database=unquote(path),
        sslmode=sslmode,
        sslrootcert=Path(root_certificates) if root_certificates else None,
        target_session_attrs=_one_of("target_session_attrs", options.get("target_session_attrs"), SESSION_ATTRS)
        or "any",
        application_name=options.get("application_name"),
    )


def _options(query: str) -> Mapping[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(PARAMETERS))
    if unknown:
        raise ValueError(
            f"it has the unknown parameter {unknown[0]!r}; known are {', '.join(PARAMETERS)}. "
            "Pool sizes and timeouts are set by VEUPATH_STORE_* variables."
        )
    return options


def _host(item: str, default_port: int) -> tuple[str, int]:
    if item.startswith("/"):
        return item, default_port
    host, separator, port = item.rpartition(":")
    if not separator or port.endswith("]"):
        host, port = item, str(default_port)
    if not host:
        raise ValueError("a host is empty; separate several hosts by one comma")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"an IPv6 address stands in brackets, as [::1]:5432; {_ESCAPE}")
    return unquote(host.removeprefix("[").removesuffix("]")), _port(port)


def _port(port: str) -> int:
    highest = 65_535
    if not port.isdecimal() or len(port) > len(str(highest)) or not 0 < int(port) <= highest:
        raise ValueError(f"a port must be a whole number from 1 to {highest}; {_ESCAPE}")
    return int(port)


def _one_of(name: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}")
    return value
