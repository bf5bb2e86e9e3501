"""What the URLs of both servers have in common: user and password, hosts and ports, parameters, embedded paths.

What cannot be read is a `ValueError`, which shows nothing of the URL but the name of a parameter.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

EMBEDDED_PREFIX: Final = "embedded:"
ESCAPE: Final = "percent-encode special characters of the user, the password and the path, in UTF-8, as %40 for @"
_HIGHEST_PORT: Final = 65_535


class UrlParts(NamedTuple):
    """The parts of a URL: user and password decoded, ``None`` without ``@`` and colon; the others as written."""

    scheme: str
    user: str | None
    password: str | None
    hosts: str
    path: str
    query: str


def split_url(url: str, schemes: Collection[str], how_to_set: str) -> UrlParts:
    """Split the URL of a running server. Whether ``urlsplit`` would take several hosts depends on the Python."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in schemes:
        raise ValueError(f"its scheme must be one of {', '.join(schemes)}, embedded. {how_to_set}")
    location, _, query = rest.partition("?")
    authority, _, path = location.partition("/")
    decoded = unquote(rest.encode("utf-8", "surrogatepass"))  # what is no UTF-8, as Latin-1, becomes U+FFFD
    if "@" in path or "@" in query or {"\0", "\ufffd"} & {*decoded}:  # a raw / or ? of a password ends up here
        raise ValueError(f"it cannot be parsed: {ESCAPE}. {how_to_set}")
    userinfo, at, hosts = authority.rpartition("@")
    user, colon, password = userinfo.partition(":")
    return UrlParts(scheme, unquote(user) if at else None, unquote(password) if colon else None, hosts, path, query)


def embedded_directory(url: str, how_to_set: str) -> Path | None:
    """The data directory of an embedded server; ``None`` where the URL is that of a running one."""
    if not url.startswith(EMBEDDED_PREFIX):
        return None
    if url == EMBEDDED_PREFIX:
        raise ValueError(f"embedded: needs a data directory. {how_to_set}")
    try:
        return Path(url.removeprefix(EMBEDDED_PREFIX)).expanduser().resolve()
    except (RuntimeError, ValueError):
        raise ValueError("the path after embedded: is none, or names an unknown home directory") from None


def host_and_port(place: str, default_port: int, default_host: str = "") -> tuple[str, int]:
    """A host and its port."""
    host, separator, port = place.rpartition(":")
    if not separator or port.endswith("]"):
        host, port = place, ""
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"an IPv6 address stands in brackets, as [::1]:{default_port}; {ESCAPE}")
    host = unquote(host.removeprefix("[").removesuffix("]"))
    return host or default_host, port_number(port or str(default_port))


def port_number(text: str) -> int:
    """A port."""
    return whole_number(text, 1, _HIGHEST_PORT, f"a port must be a whole number from 1 to {_HIGHEST_PORT}; {ESCAPE}")


def whole_number(text: str, lowest: int, highest: int, message: str) -> int:
    """A number in its bounds; the message is the error where it is none."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(highest))
    if not is_number or not lowest <= int(text) <= highest:
        raise ValueError(message)
    return int(text)


def parameters(query: str, known: Collection[str], instead: Mapping[str, str], hint: str) -> dict[str, str]:
    """The parameters, without those that are empty. What is not known is refused, with what to do instead."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in sorted(given.keys() - set(known)):
        raise ValueError(f"it has the unknown parameter {name!r}; {instead.get(name, hint)}.")
    return {name: value for name, value in given.items() if value}


def one_of(name: str, value: str | None, allowed: Collection[str], hint: str = "") -> str | None:
    """A parameter's value, if it is one of those that are allowed."""
    if value is not None and value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}{hint}")
    return value
