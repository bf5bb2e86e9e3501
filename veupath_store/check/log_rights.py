"""Every command that the store sends to Redis, in a form that changes nothing, whatever the server holds.

Redis refuses a user's command, or key, before it looks at anything else. So a command that names what is never there,
or contradicts itself, is refused where its real form would be.
"""

from typing import Final
from uuid import UUID

from veupath_store.events.log.client import Command
from veupath_store.events.log.entries import LogKey
from veupath_store.events.log.log import never_written
from veupath_store.events.log.scripts import BEHIND, GONE, HOLDER, NEVER, SWEPT

_NOBODY: Final = UUID(int=0)


def command_probes(prefix: str) -> list[Command]:
    """Each command once, those within scripts included."""
    key = f"{prefix}{NEVER}"
    return [
        ("PING",),
        ("TIME",),
        ("EVAL", "return 1", 1, key),
        never_written(prefix),
        ("XRANGE", key, "-", "+", "COUNT", 1),
        ("XREVRANGE", key, "+", "-", "COUNT", 1),
        ("XREAD", "COUNT", 1, "STREAMS", key, "0-0"),
        ("XINFO", "STREAM", key),
        ("XDEL", key, "0-1"),
        ("XTRIM", key, "MINID", "=", "0-0"),
        ("EXISTS", key),
        ("UNLINK", key),
        ("GET", key),
        ("PTTL", key),
        ("SET", key, "1", "NX", "XX"),  # a contradiction
        ("SCAN", 0, "MATCH", key, "COUNT", 1),
        ("ZADD", key, "XX", 0, ""),
        ("ZREM", key, ""),
        ("ZRANGE", key, 0, 0),
        ("ZCARD", key),
        ("ZSCORE", key, ""),
    ]


def key_probes(prefix: str) -> dict[str, list[Command]]:
    """By the pattern of keys, a command that reads one, and one that would write it."""
    return {
        f"{prefix}{pattern}": [("EXISTS", f"{prefix}{name}"), ("SET", f"{prefix}{name}", "1", "NX", "XX")]
        for pattern, name in (
            ("stream:*", LogKey.stream(_NOBODY).text("")),
            ("op:*", LogKey.operation(_NOBODY).text("")),
            ("event:*", LogKey.stream(_NOBODY).of_event("", "")),
            (BEHIND, BEHIND),
            (SWEPT, SWEPT),
            (HOLDER, HOLDER),
            (f"{GONE}*", GONE),
        )
    }


def privileges(prefix: str) -> str:
    """What a user needs, as ``ACL SETUSER`` takes it; INFO is for `check` only."""
    names = sorted({str(command[0]).lower() for command in command_probes(prefix)})
    return " ".join((f"~{prefix}*", *(f"+{name}" for name in (*names, "select", "info"))))
