"""Reading `REDIS_URL`: what it may look like, and an error that says what to set when it does not."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from veupath_store.servers import urls

AskPassword: TypeAlias = Callable[[], str | Awaitable[str]]
"""What gives the password of a connection that is being made; called for each one."""

_DEFAULT_HOST: Final = "localhost"
DEFAULT_PORT: Final = 6379
DEFAULT_SENTINEL_PORT: Final = 26_379
_SENTINELS: Final = "+sentinel"
SCHEMES: Final = ("redis", "rediss", "unix", f"redis{_SENTINELS}", f"rediss{_SENTINELS}")
SENTINEL_PARAMETERS: Final = ("sentinel_username", "sentinel_password")
_HIGHEST_DATABASE: Final = 2**31 - 1
_CERTIFICATE_CHECKS: Final = ("none", "optional", "required")
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS_PARAMETERS: Final = ("ssl_cert_reqs", "ssl_check_hostname", *_FILES)
_OURS: Final = "remove it: the store decides that itself"
_TIMEOUT: Final = "the timeout is set by VEUPATH_STORE_LOG_TIMEOUT"
# What clients and providers put into URLs that stands elsewhere here.
_INSTEAD: Final = {
    "ssl": "write rediss:// for TLS",
    "timeout": _TIMEOUT,
    "socket_timeout": _TIMEOUT,
    "socket_connect_timeout": _TIMEOUT,
    **dict.fromkeys(("max_connections", "protocol", "family", "client_name", "decode_responses"), _OURS),
    **dict.fromkeys(("health_check_interval", "socket_keepalive", "retry_on_timeout", "retry_on_error"), _OURS),
}
HOW_TO_SET: Final = (
    "Set REDIS_URL to redis://USER:PASSWORD@HOST:PORT/DATABASE (rediss:// with TLS, unix:///PATH for a socket) for a "
    "running server, to redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DATABASE for Sentinels, to "
    "embedded:PATH to start the embedded server on that data directory, or to nothing: then there is no event log."
)


@dataclass(frozen=True, kw_only=True)
class RedisTarget:
    """Where the event log is, read from a URL."""

    host: str = _DEFAULT_HOST
    port: int = DEFAULT_PORT
    socket: str | None = None  # a path, instead of host and port
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: Mapping[str, Any] | None = None  # the client's options for it; None without TLS
    embedded: Path | None = None  # the data directory of the embedded server
    sentinels: tuple[tuple[str, int], ...] = ()  # they are asked where the server is
    service: str = ""  # what they call their master
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    ask_password: AskPassword | None = field(default=None, repr=False)  # instead of the password

    @property
    def place(self) -> str:
        """The host and port, or the socket, for messages."""
        return self.socket or f"{self.host}:{self.port}"

    @property
    def files(self) -> list[Path]:
        """The files that TLS needs."""
        return [Path(self.tls[name]) for name in _FILES if name in self.tls] if self.tls else []


def parse_redis_url(url: str) -> RedisTarget:
    """Read the URL of the event log.

    Args:
        url: ``embedded:PATH``, or a ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or
            ``rediss+sentinel://`` URL.

    Raises:
        ValueError: The URL cannot be used; the message says why and never shows the URL.
    """
    url = url.strip()  # a mounted secret ends with a line break
    if (directory := urls.embedded_directory(url, HOW_TO_SET)) is not None:
        return RedisTarget(embedded=directory)
    scheme, user, password, place, path, query = urls.split_url(url, SCHEMES, HOW_TO_SET)
    if "#" in url:
        raise ValueError(f"it cannot be parsed: {urls.ESCAPE}. {HOW_TO_SET}")
    if user is not None and password is None:
        raise ValueError(f"a password stands after a colon, as in redis://:PASSWORD@HOST. {HOW_TO_SET}")
    options = _options(scheme, query)
    target = RedisTarget(user=user or None, password=password or None)
    if scheme == "unix":
        if place or not path:
            raise ValueError(f"the path of a socket is absolute, as in unix:///run/redis.sock. {HOW_TO_SET}")
        return replace(target, socket=f"/{unquote(path)}", database=_database(options.get("db", "0")))
    target = replace(target, tls=_tls(options) if scheme.startswith("rediss") else None)
    if scheme.endswith(_SENTINELS):
        return _by_sentinels(target, place, path, options)
    host, port = urls.host_and_port(place, DEFAULT_PORT, _DEFAULT_HOST)
    return replace(target, host=host, port=port, database=_database(path or options.get("db", "0")))


def _by_sentinels(target: RedisTarget, places: str, path: str, options: Mapping[str, str]) -> RedisTarget:
    service, _, number = path.partition("/")
    if not service:
        raise ValueError(f"the name of the Sentinels' master stands after them, as in HOST:PORT/SERVICE. {HOW_TO_SET}")
    if not all(places.split(",")):
        raise ValueError(f"the host of a Sentinel is missing. {HOW_TO_SET}")
    return replace(
        target,
        sentinels=tuple(urls.host_and_port(place, DEFAULT_SENTINEL_PORT, _DEFAULT_HOST) for place in places.split(",")),
        service=unquote(service),
        database=_database(number or options.get("db", "0")),
        sentinel_user=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _options(scheme: str, query: str) -> Mapping[str, str]:
    known = ("db", *(TLS_PARAMETERS if scheme.startswith("rediss") else ()))
    if scheme.endswith(_SENTINELS):
        known += SENTINEL_PARAMETERS
    return urls.parameters(query.replace("+", "%2B"), known, _INSTEAD, f"a {scheme}:// URL knows {', '.join(known)}")


def _tls(options: Mapping[str, str]) -> Mapping[str, Any]:
    chosen: dict[str, Any] = {name: options[name] for name in TLS_PARAMETERS if name in options}
    if "ssl_cert_reqs" in chosen:  # as Celery has it: CERT_NONE
        chosen["ssl_cert_reqs"] = chosen["ssl_cert_reqs"].lower().removeprefix("cert_")
    urls.one_of("ssl_cert_reqs", chosen.get("ssl_cert_reqs"), _CERTIFICATE_CHECKS)
    # Said, not left to the client: some of its versions do not check the host's name by default.
    checked = chosen.get("ssl_check_hostname", "false" if chosen.get("ssl_cert_reqs") == "none" else "true")
    if checked not in ("true", "false"):
        raise ValueError("ssl_check_hostname must be true or false")
    return {**chosen, "ssl_check_hostname": checked == "true"}


def _database(text: str) -> int:
    return urls.whole_number(text, 0, _HIGHEST_DATABASE, "the database must be a whole number, as in redis://HOST/0")
