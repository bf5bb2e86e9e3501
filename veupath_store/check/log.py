"""Whether the event log's server is fit to keep what may not be lost."""

import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final
from uuid import UUID

from veupath_store.check.probe import Probe, failure, ok, verdict, warning
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, StoreError
from veupath_store.events.holder import database_identity
from veupath_store.events.log.client import Command, NotAllowedError, RedisClient
from veupath_store.events.log.entries import LogKey
from veupath_store.events.log.log import EventLog, never_written
from veupath_store.events.log.scripts import BEHIND, GONE, HOLDER, NEVER, SWEPT
from veupath_store.values.check import Finding, Level

OLDEST: Final = (6, 2)
"""The oldest Redis that will do."""

# The newest first; a loss is a finding for seven days, as in `projections lag`. Nothing before the migration.
_LOSSES: Final = """
SELECT stream_id, lost ->> 'messages' AS messages, lost ->> 'after' AS after, lost ->> 'before' AS before,
       lost ->> 'at' AS at, (lost ->> 'at')::timestamptz > now() - interval '7 days' AS is_new
FROM stream_projections WHERE lost IS NOT NULL ORDER BY at DESC LIMIT 20"""
_CAN_TELL: Final = "SELECT FROM pg_attribute WHERE attrelid = to_regclass('stream_projections') AND attname = 'lost'"

_NOBODY: Final = UUID(int=0)

_SECTIONS: Final = ("server", "persistence", "memory", "replication")


async def about_log(settings: StoreSettings) -> tuple[bool, list[Finding]]:
    """Whether the log's server could be looked at, and what was found; nothing is read of what it holds."""
    if settings.log_target is None:
        return True, [ok("log", "No event log is configured: REDIS_URL is not set.")]
    try:
        client = RedisClient(settings.log_target, settings.log_timeout)
        try:
            refusal = await _refusal(client, settings.log_prefix)
            facts = await _facts(client)
            rights = await _about_rights(client, settings.log_prefix)
        finally:
            await client.close()
    except StoreError as exc:
        return False, [failure("log", f"The event log does not serve: {exc}")]
    found = ok("log", "The event log answers.")
    if facts is None:
        unseen = "Redis does not let its user ask INFO: allow that command, or check the server's persistence by hand."
        return True, [found, rights, _about_writes({}, refusal), warning("log persistence", unseen)]
    return True, [found, rights, _about_version(facts), _about_writes(facts, refusal), _about_persistence(facts)]


async def _about_rights(client: RedisClient, prefix: str) -> Finding:
    """Whether the user may send what the store sends: each command is tried, in a form that changes nothing."""
    commands, keys = command_probes(prefix), key_probes(prefix)
    refused = [f"command {name}" for name in await _refused(client, {str(it[0]): [it] for it in commands})]
    if not refused:  # else each key would be refused for its command
        refused = [f"keys {pattern}" for pattern in await _refused(client, keys)]
    grant = f"type ACL SETUSER with its name, and: {privileges(prefix)}"
    message = f"Redis refuses the event log's user what it needs: {grant}"
    return verdict("log rights", refused, message, "The event log's user may do what it has to.")


def command_probes(prefix: str) -> list[Command]:
    """Every command that the store sends, those in scripts included, in a form that changes nothing on any server.

    Redis refuses a user's command, or key, before it looks at anything else. So a command that names what is never
    there, or contradicts itself, is refused where its real form would be.
    """
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


async def _refused(client: RedisClient, probes: Mapping[str, Sequence[Command]]) -> list[str]:
    """The names of those of which one is refused for the user's rights."""
    names = [name for name, commands in probes.items() for _ in commands]
    answers = await client.run_each([command for commands in probes.values() for command in commands])
    return list(dict.fromkeys(name for name, it in zip(names, answers, strict=True) if isinstance(it, NotAllowedError)))


async def _refusal(client: RedisClient, prefix: str) -> StoreError | None:
    """What the server, if it serves, says to a write that would do nothing; ``None`` where it takes it."""
    ping, write = await client.run_each([("PING",), never_written(prefix)])
    # That its user may not send a PING is for `_about_rights` to say.
    if isinstance(ping, StoreError) and not isinstance(ping, NotAllowedError):
        raise ping from ping.__cause__
    return write if isinstance(write, StoreError) else None


async def _facts(client: RedisClient) -> Mapping[str, str] | None:
    """What INFO says; ``None`` where the user may not ask."""
    try:
        answers = await client.run([("INFO", section) for section in _SECTIONS])
    except ConfigurationError:
        return None
    lines = "\n".join(answer.decode(errors="replace") for answer in answers).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _about_version(facts: Mapping[str, str]) -> Finding:
    version = facts.get("redis_version", "")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return failure("log version", f"Redis {wanted} or later is needed: upgrade the server.", [f"Redis {version}"])
    return ok("log version", f"Redis {version} will do.")


def _about_writes(facts: Mapping[str, str], refusal: StoreError | None) -> Finding:
    if facts.get("role") in ("slave", "replica"):
        return failure("log writable", "The event log's server is a replica: point REDIS_URL at its master.")
    if refusal is not None:
        return failure("log writable", f"The event log's server takes no writes. {refusal}")
    return ok("log writable", "The event log's server takes writes.")


def _about_persistence(facts: Mapping[str, str]) -> Finding:
    wrong = []
    if facts.get("aof_enabled") != "1":
        wrong.append("appendonly is off: what was acknowledged since the last snapshot is lost with the process")
    if facts.get("aof_last_write_status", "ok") != "ok" or facts.get("rdb_last_bgsave_status", "ok") != "ok":
        wrong.append("the last write to disk failed: see the server's log")
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("maxmemory", "0") != "0" and policy != "noeviction":
        wrong.append(f"maxmemory-policy is {policy}: a full server drops logs; set noeviction, which refuses writes")
    message = "The event log may lose what it acknowledged: change the server's settings."
    fine = "The event log is kept on disk, and never dropped for room."
    return verdict("log persistence", wrong, message, fine, Level.WARNING)


async def about_holder(probe: Probe) -> list[Finding]:
    """Whether the logs under the prefix belong to this database, as its processes have said."""
    if probe.settings.log_target is None:
        return []
    try:
        async with AsyncExitStack() as closing:
            log = EventLog(probe.settings)
            closing.push_async_callback(log.close)
            holder, identity = await log.holder(), await database_identity(probe.fetch)
    except StoreError:
        return []  # `about_log` says why
    if holder is None or identity is None or holder == identity:
        return [ok("log prefix", "No other database is known to use the log's prefix.")]
    return [
        warning(
            "log prefix",
            "Another database uses the same Redis and prefix, or did within the last day: set VEUPATH_STORE_LOG_PREFIX "
            "of one of them. Where this one was restored or moved, and the other is gone, this ends by itself a day "
            f"after that; or type: redis-cli UNLINK {probe.settings.log_prefix}{HOLDER}",
            [f"theirs: {holder}", f"this one: {identity}"],
        )
    ]


async def about_losses(probe: Probe) -> list[Finding]:
    """What logs have lost that Redis had acknowledged; rows keep that for good."""
    if probe.settings.log_target is None or not await probe.fetch(_CAN_TELL):
        return []
    lost = await probe.fetch(_LOSSES)
    lines = [
        f"{row['stream_id']}: {row['messages']} message(s) between {row['after']} and {row['before']}, seen {row['at']}"
        for row in lost
    ]
    if any(row["is_new"] for row in lost):
        return [warning("log losses", "Redis has lost what it had acknowledged: see its persistence.", lines)]
    if lost:
        return [ok("log losses", "No log has lost anything in the last seven days.")]
    return [ok("log losses", "No log has lost anything.")]
