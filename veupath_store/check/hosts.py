"""Whether each host answers, as which version, and whether it takes writes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from veupath_store.check.probe import PATIENCE, failure, ok, verdict, warning
from veupath_store.config import StoreSettings
from veupath_store.engine.connect import connect, connect_arguments
from veupath_store.engine.translation import DRIVER_ERRORS, Phase, translate
from veupath_store.errors import StoreError, UnavailableError
from veupath_store.servers.database_url import DatabaseTarget
from veupath_store.servers.embedded import start_embedded
from veupath_store.values.check import Finding

OLDEST: Final = 150_000
"""The oldest server that will do, as ``server_version_num``: ON DELETE SET NULL with columns, NULLS NOT DISTINCT."""

_ASK: Final = """
SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version,
       pg_is_in_recovery() AS recovering, current_setting('default_transaction_read_only')::bool AS read_only
"""

_NOBODY: Final = "No server accepts a connection; see what to do about each host."

_UNKNOWN_PARAMETER: Final = "08P01"
"""How a PgBouncer refuses the session settings that a direct connection begins with."""


@dataclass(frozen=True)
class Host:
    """What one host, named with its port, has answered, or why it did not."""

    name: str
    error: StoreError | None = None
    row: Any = None

    @property
    def writable(self) -> bool:
        """Whether it takes writes."""
        return self.row is not None and not (self.row["recovering"] or self.row["read_only"])

    @property
    def line(self) -> str:
        """What there is to say of it."""
        if self.row is None:
            return str(self.error)
        return (
            f"{self.name}: PostgreSQL {self.row['version'].split()[0]}, {'writable' if self.writable else 'read-only'}"
        )


async def about_hosts(settings: StoreSettings) -> list[Finding]:
    """Ask every host at once: each has `connect_timeout` seconds to let us in."""
    target = settings.target
    if target.embedded is not None:
        target = await asyncio.to_thread(start_embedded, target)
    hosts = await asyncio.gather(*(_ask(settings, target, number) for number in range(len(target.hosts))))
    answered = [host for host in hosts if host.row is not None]
    if not answered:
        return [failure("hosts", _NOBODY, [host.line for host in hosts])]
    return [
        _about_answers(hosts, answered),
        _about_versions(answered),
        _about_writes(answered, target.target_session_attrs),
    ]


def _chosen(answered: list[Host], wanted: str) -> Host | None:
    """The host that a connection ends on, as libpq has it: the first that has what is wanted."""
    matches: dict[str, Callable[[Host], bool]] = {
        "read-write": lambda host: host.writable,
        "read-only": lambda host: not host.writable,
        "primary": lambda host: not host.row["recovering"],
        "standby": lambda host: bool(host.row["recovering"]),
        "prefer-standby": lambda host: bool(host.row["recovering"]),
    }
    found = [host for host in answered if wanted not in matches or matches[wanted](host)]
    return found[0] if found else (answered[0] if wanted == "prefer-standby" else None)


def _about_writes(answered: list[Host], wanted: str) -> Finding:
    chosen = _chosen(answered, wanted)
    if chosen is not None and chosen.writable:
        return ok("writable", "The server takes writes.")
    if any(host.writable for host in answered):
        return failure(
            "writable",
            "The application would write on a read-only server: set target_session_attrs=read-write in DATABASE_URL.",
        )
    if chosen is not None and not chosen.row["recovering"]:
        return failure(
            "writable",
            "No server takes writes: default_transaction_read_only is on. Type ALTER SYSTEM, ALTER DATABASE … or ALTER "
            "ROLE … RESET default_transaction_read_only, where it was set.",
        )
    return failure("writable", "No server takes writes: promote a standby, or point DATABASE_URL at the primary.")


def refuses_settings(error: StoreError) -> bool:
    """Whether a server refused session settings, as a PgBouncer does unless it is set to ignore them."""
    return getattr(error.__cause__, "sqlstate", None) == _UNKNOWN_PARAMETER


def _about_answers(hosts: list[Host], answered: list[Host]) -> Finding:
    lines = [host.line for host in hosts]
    if len(answered) < len(hosts):
        return warning(
            "hosts", f"{len(hosts) - len(answered)} of {len(hosts)} hosts do not serve; bring them back.", lines
        )
    return ok("hosts", "Every host answers." if len(hosts) > 1 else "The server answers.", lines)


def _about_versions(answered: list[Host]) -> Finding:
    old = [host.line for host in answered if host.row["number"] < OLDEST]
    needed = f"PostgreSQL {OLDEST // 10_000} or later is needed: upgrade the server."
    return verdict("version", old, needed, f"PostgreSQL {answered[0].row['version'].split()[0]} will do.")


async def _ask(settings: StoreSettings, target: DatabaseTarget, number: int) -> Host:
    host, port = target.hosts[number]
    name = f"{host}:{port}"
    alone = replace(target, hosts=(target.hosts[number],), target_session_attrs="any")
    try:
        connection = await connect(alone, settings.connect_timeout, connect_arguments(settings, alone))
        try:
            async with asyncio.timeout(PATIENCE):
                return Host(name, row=await connection.fetchrow(_ASK))
        finally:
            connection.terminate()
    except StoreError as exc:
        return Host(name, exc)
    except DRIVER_ERRORS as exc:
        return Host(name, UnavailableError(f"{name}: {translate(exc, Phase.READ)}"))
