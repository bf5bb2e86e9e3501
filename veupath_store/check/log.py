"""Whether the event log's server is fit to keep what may not be lost."""

import re
from collections.abc import Mapping
from typing import Final

from veupath_store.check.asking import failure, warning, well
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, StoreError
from veupath_store.events.redis_client import RedisClient
from veupath_store.values.check import Finding

OLDEST: Final = (6, 2)
"""The oldest Redis that will do."""

_SECTIONS: Final = ("server", "persistence", "memory", "replication")


async def about_log(settings: StoreSettings) -> tuple[bool, list[Finding]]:
    """The log's server; nothing is read of what it holds.

    Returns:
        Whether it could be looked at, and what was found.
    """
    if settings.log_target is None:
        return True, [well("log", "No event log is configured: REDIS_URL is not set.")]
    try:
        client = RedisClient(settings.log_target, settings.log_timeout)
        try:
            await client.run([("PING",)])
            facts = await _facts(client)
        finally:
            await client.close()
    except StoreError as exc:
        return False, [failure("log", f"The event log does not serve: {exc}")]
    found = well("log", "The event log answers.")
    if facts is None:
        unseen = "Redis does not let its user ask INFO: allow that command, or check the server's persistence by hand."
        return True, [found, warning("log persistence", unseen)]
    return True, [found, _about_version(facts), _about_writes(facts), _about_persistence(facts)]


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
    return well("log version", f"Redis {version} will do.")


def _about_writes(facts: Mapping[str, str]) -> Finding:
    if facts.get("role") in ("slave", "replica"):
        return failure("log writable", "The event log's server is a replica: point REDIS_URL at its master.")
    return well("log writable", "The event log's server takes writes.")


def _about_persistence(facts: Mapping[str, str]) -> Finding:
    wrong = []
    if facts.get("aof_enabled") != "1":
        wrong.append("appendonly is off: what was acknowledged since the last snapshot is lost with the process")
    if facts.get("aof_last_write_status", "ok") != "ok" or facts.get("rdb_last_bgsave_status", "ok") != "ok":
        wrong.append("the last write to disk failed: see the server's log")
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("maxmemory", "0") != "0" and policy != "noeviction":
        wrong.append(f"maxmemory-policy is {policy}: a full server drops logs; set noeviction, which refuses writes")
    if wrong:
        return warning(
            "log persistence", "The event log may lose what it acknowledged: change the server's settings.", wrong
        )
    return well("log persistence", "The event log is kept on disk, and never dropped for room.")
