"""Reading `REDIS_URL`: what it may look like, and an error that says what to set when it does not."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from veupath_store.database_url import EMBEDDED_PREFIX, embedded_directory

MEMORY_PREFIX: Final = "memory:"
"""For tests; no error message recommends it."""
DEFAULT_PORT: Final = 6379
SCHEMES: Final = ("redis", "rediss", "unix")
_HIGHEST_PORT: Final = 65_535
_HIGHEST_DATABASE: Final = 2**31 - 1
_CERTIFICATE_CHECKS: Final = ("none", "optional", "required")
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS_PARAMETERS: Final = ("ssl_cert_reqs", "ssl_check_hostname", *_FILES)
_ESCAPE: Final = "percent-encode special characters of the user and the password, as %40 for @"
HOW_TO_SET: Final = (
    "Set REDIS_URL to redis://USER:PASSWORD@HOST:PORT/DATABASE (rediss:// with TLS, unix:///PATH for a socket) for a "
    "running server, to embedded:PATH to start the embedded server on that data directory, or to nothing: then there "
    "is no event log."
)


@dataclass(frozen=True, kw_only=True)
class RedisTarget:
    """Where the event log is, read from a URL.

    Attributes:
        host: The host of a running server.
        port: Its port.
        socket: The path of its socket, instead of host and port.
        user: The user, or ``None`` for the default one.
        password: Never shown by ``repr``.
        database: The database's number.
        tls: What the client takes as its options for TLS; ``None`` without TLS.
        embedded: The data directory of the embedded server, or ``None`` for a running server.
        memory: The name of a log in this process's memory, for tests; or ``None``.
    """

    host: str = "localhost"
    port: int = DEFAULT_PORT
    socket: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: Mapping[str, Any] | None = None
    embedded: Path | None = None
    memory: str | None = None

    @property
    def files(self) -> list[Path]:
        """The files that TLS needs."""
        return [Path(self.tls[name]) for name in _FILES if name in self.tls] if self.tls else []


def parse_redis_url(url: str) -> RedisTarget:
    """Read the URL of the event log.

    Args:
        url: ``embedded:PATH``, or a ``redis://``, ``rediss://`` or ``unix://`` URL; in tests also ``memory:NAME``.

    Returns:
        The target.

    Raises:
        ValueError: The URL cannot be used; the message says why and never shows the URL.
    """
    url = url.strip()  # a mounted secret ends with a line break
    if url.startswith(EMBEDDED_PREFIX):
        return RedisTarget(embedded=embedded_directory(url.removeprefix(EMBEDDED_PREFIX), HOW_TO_SET))
    if url.startswith(MEMORY_PREFIX):
        return RedisTarget(memory=_name(url.removeprefix(MEMORY_PREFIX)))
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"its scheme must be one of {', '.join(SCHEMES)}, embedded. {HOW_TO_SET}")
    location, _, query = rest.partition("?")
    authority, slash, path = location.partition("/")
    if "@" in path or "@" in query or "#" in rest or "\0" in unquote(rest):
        # A raw / or ? in a password ends up here: nothing of it may be shown.
        raise ValueError(f"it cannot be taken apart: {_ESCAPE}. {HOW_TO_SET}")
    userinfo, at, place = authority.rpartition("@")
    user, colon, password = userinfo.partition(":")
    if at and not colon:
        raise ValueError(f"a password stands after a colon, as in redis://:PASSWORD@HOST. {HOW_TO_SET}")
    options = _options(scheme, query)
    target = RedisTarget(user=unquote(user) or None, password=unquote(password) or None)
    if scheme == "unix":
        if place or not path:
            raise ValueError(f"the path of a socket is absolute, as in unix:///run/redis.sock. {HOW_TO_SET}")
        number = _database(options.get("db", "0"))
        return replace(target, socket=slash + unquote(path), database=number)
    host, port = _place(place)
    tls = _tls(options) if scheme == "rediss" else None
    number = _database(path or options.get("db", "0"))
    return replace(target, host=host, port=port, database=number, tls=tls)


def _name(name: str) -> str:
    if not name:
        raise ValueError("a log in memory needs a name, as in memory:NAME")
    return name


def _options(scheme: str, query: str) -> Mapping[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = ("db", *TLS_PARAMETERS) if scheme == "rediss" else ("db",)
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise ValueError(
            f"it has the unknown parameter {unknown[0]!r}; a {scheme}:// URL knows {', '.join(known)}. "
            "The timeout is set by VEUPATH_STORE_LOG_TIMEOUT."
        )
    return options


def _tls(options: Mapping[str, str]) -> Mapping[str, Any]:
    chosen: dict[str, Any] = {name: options[name] for name in TLS_PARAMETERS if name in options}
    if chosen.get("ssl_cert_reqs", "required") not in _CERTIFICATE_CHECKS:
        raise ValueError(f"ssl_cert_reqs must be one of {', '.join(_CERTIFICATE_CHECKS)}")
    # Said, not left to the client: some of its versions do not check the host's name unless told to.
    checked = chosen.get("ssl_check_hostname", "false" if chosen.get("ssl_cert_reqs") == "none" else "true")
    if checked not in ("true", "false"):
        raise ValueError("ssl_check_hostname must be true or false")
    return {**chosen, "ssl_check_hostname": checked == "true"}


def _place(place: str) -> tuple[str, int]:
    host, separator, port = place.rpartition(":")
    if not separator or port.endswith("]"):
        host, port = place, ""
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"an IPv6 address stands in brackets, as [::1]:6379; {_ESCAPE}")
    host = unquote(host.removeprefix("[").removesuffix("]")) or "localhost"
    return host, _number(port or str(DEFAULT_PORT), 1, _HIGHEST_PORT, f"a port must be a whole number; {_ESCAPE}")


def _database(text: str) -> int:
    return _number(text, 0, _HIGHEST_DATABASE, "the database must be a whole number, as in redis://HOST/0")


def _number(text: str, lowest: int, highest: int, message: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(highest)):
        raise ValueError(message)
    if not lowest <= int(text) <= highest:
        raise ValueError(message)
    return int(text)
