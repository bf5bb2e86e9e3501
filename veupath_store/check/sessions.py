"""How sessions are: through a pooler or not, with which timeouts, and whether there is room for them."""

from collections.abc import Mapping
from typing import Any, Final

from veupath_store.check.probe import Probe, failure, ok, verdict, warning
from veupath_store.config import ENV_PREFIX
from veupath_store.engine.connect import SESSION, timeouts
from veupath_store.values.check import Finding, Level

_ROOM: Final = """
SELECT current_setting('max_connections')::int AS most,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
       r.rolsuper AS is_superuser, r.rolconnlimit AS of_role, d.datconnlimit AS of_database,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS used
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
"""

# What statements outside of a transaction run with: through a pooler what a session starts with, otherwise also what
# the store has set in it.
_SETTINGS: Final = """
SELECT name, CASE WHEN $2 THEN reset_val ELSE setting END AS value FROM pg_settings WHERE name = ANY ($1::text[])
"""

_OVERRIDES: Final = """
SELECT split_part(setting, '=', 1) AS name, substr(setting, strpos(setting, '=') + 1) AS value,
       (SELECT quote_ident(rolname) FROM pg_roles WHERE oid = s.setrole) AS role,
       (SELECT quote_ident(datname) FROM pg_database WHERE oid = s.setdatabase) AS database
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS setting
WHERE s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
  AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY 1, 3, 4
"""

_RELIED_ON: Final = {
    **{name: SESSION[name] for name in ("default_transaction_isolation", "standard_conforming_strings")},
    "quote_all_identifiers": SESSION["quote_all_identifiers"],
    "default_transaction_read_only": "off",
    "session_replication_role": "origin",
    "synchronous_commit": "anything but off",
}

_NOT_WAITING: Final = frozenset({"local", "remote_write"})


async def about_sessions(probe: Probe) -> list[Finding]:
    """The pooler, the timeouts, the number of connections."""
    return [
        _about_pooler(probe),
        await _about_timeouts(probe),
        _about_order(probe),
        await _about_settings(probe),
        await _about_room(probe),
    ]


def _about_pooler(probe: Probe) -> Finding:
    said = probe.settings.pgbouncer
    if probe.is_pooled and not said:
        return failure(
            "pooler",
            f"A pooler stands in between: set {ENV_PREFIX}PGBOUNCER=true, because prepared statements and session "
            "settings do not survive it.",
        )
    if said and not probe.is_pooled:
        return warning(
            "pooler",
            f"{ENV_PREFIX}PGBOUNCER is set and the connection is direct: unset it, or every statement is planned anew.",
        )
    return ok("pooler", "Connections go through a pooler." if said else "Connections are direct.")


async def _about_timeouts(probe: Probe) -> Finding:
    wanted = timeouts(probe.settings)
    rows = await probe.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY ($1::text[])", list(wanted))
    wrong = [
        f"{row['name']}: is {_seconds(row['setting'])}, should be {_seconds(wanted[row['name']])}"
        for row in rows
        if row["setting"] != wanted[row["name"]]
    ]
    if wrong:
        return failure(
            "timeouts", "The server does not keep the configured timeouts: see what resets them on its sessions.", wrong
        )
    return ok(
        "timeouts",
        "The server keeps the configured timeouts.",
        [f"{name}: {_seconds(wanted[name])}" for name in wanted],
    )


def _seconds(milliseconds: str) -> str:
    return f"{int(milliseconds) / 1000:g} s" if milliseconds != "0" else "none"


def _about_order(probe: Probe) -> Finding:
    """Which timeouts never take effect, because another one comes first."""
    settings = probe.settings
    wrong = []
    if settings.command_timeout <= settings.statement_timeout:
        wrong.append(
            f"{ENV_PREFIX}COMMAND_TIMEOUT ({settings.command_timeout:g} s) must be above {ENV_PREFIX}STATEMENT_TIMEOUT "
            f"({settings.statement_timeout:g} s): the client would give up while the server works on"
        )
    if settings.lock_timeout >= settings.statement_timeout:
        wrong.append(
            f"{ENV_PREFIX}LOCK_TIMEOUT ({settings.lock_timeout:g} s) must be below {ENV_PREFIX}STATEMENT_TIMEOUT "
            f"({settings.statement_timeout:g} s) to take effect"
        )
    message = "Some timeouts never take effect: change them."
    return verdict("order of timeouts", wrong, message, "Each timeout can take effect.", Level.WARNING)


async def _about_settings(probe: Probe) -> Finding:
    """What the store relies on, whatever ALTER ROLE and ALTER DATABASE say."""
    through_pooler = probe.is_pooled or probe.settings.pgbouncer
    rows = await probe.fetch(_SETTINGS, [*_RELIED_ON, "synchronous_standby_names"], through_pooler)
    values = {row["name"]: row["value"] for row in rows}
    wrong = [
        f"{name}: is {values[name]}, must be {wanted}" for name, wanted in _RELIED_ON.items() if _is_wrong(name, values)
    ]
    set_for_all = [
        _override(row) for row in await probe.fetch(_OVERRIDES) if _is_wrong(row["name"], {row["name"]: row["value"]})
    ]
    if wrong:
        message = "Sessions lack what the store relies on: take back what was set."
        return failure("session settings", message, [*wrong, *set_for_all])
    if set_for_all:
        message = "The store overrides what was set for its role or database: take it back."
        return warning("session settings", message, set_for_all)
    return _about_durability(values["synchronous_commit"], values["synchronous_standby_names"])


def _about_durability(commit: str, standbys: str) -> Finding:
    if standbys and commit in _NOT_WAITING:
        return warning(
            "session settings",
            f"synchronous_commit is {commit}: a failover may lose what was acknowledged, although there is a "
            "synchronous standby; set it to on or remote_apply.",
        )
    return ok("session settings", "Sessions have what the store relies on.")


def _is_wrong(name: str, values: Mapping[str, str]) -> bool:
    if name == "synchronous_commit":
        return values[name] == "off"
    return name in _RELIED_ON and values[name] != _RELIED_ON[name]


def _override(row: Any) -> str:  # noqa: ANN401 - a record
    """Where a value was set, and what to type."""
    role = f"ROLE {row['role'] or 'ALL'}"
    where = f"{role} IN DATABASE {row['database']}" if row["role"] and row["database"] else role
    if not row["role"] and row["database"]:
        where = f"DATABASE {row['database']}"
    return f"{row['name']} = {row['value']!r}: type ALTER {where} RESET {row['name']}"


async def _about_room(probe: Probe) -> Finding:
    size = probe.settings.pool_max_size
    if probe.is_pooled:
        return ok("connections", f"A process holds {size} of the pooler's client connections at most.")
    found = await probe.one(_ROOM)
    limits = {"max_connections": found["most"] - (0 if found["is_superuser"] else found["reserved"])}
    if not found["is_superuser"]:
        own = {"the role's limit": found["of_role"], "the database's limit": found["of_database"]}
        limits |= {name: limit for name, limit in own.items() if limit >= 0}
    which = min(limits, key=limits.__getitem__)
    room = limits[which]
    if size > room:
        return warning(
            "connections",
            f"A process may hold {size} connections and {which} leaves {room}: lower {ENV_PREFIX}POOL_MAX_SIZE, or "
            "raise that limit.",
        )
    return ok(
        "connections",
        f"A process may hold {size} of {room} connections: room for {room // size} process(es). "
        f"{found['used']} are in use on the server.",
    )
