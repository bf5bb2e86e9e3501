"""How sessions are: through a pooler or not, with which timeouts, and whether there is room for them."""

from typing import Final

from veupath_store.check.asking import Asked, failure, warning, well
from veupath_store.config import ENV_PREFIX
from veupath_store.engine.connect import timeouts
from veupath_store.values.check import Finding

_ROOM: Final = """
SELECT current_setting('max_connections')::int AS most,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
       r.rolsuper AS is_superuser, r.rolconnlimit AS of_role, d.datconnlimit AS of_database,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS used
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
"""


async def about_sessions(asked: Asked) -> list[Finding]:
    """The pooler, the timeouts, the number of connections."""
    return [_about_pooler(asked), await _about_timeouts(asked), _about_order(asked), await _about_room(asked)]


def _about_pooler(asked: Asked) -> Finding:
    said = asked.settings.pgbouncer
    if asked.is_pooled and not said:
        return failure(
            "pooler",
            f"A pooler stands in between: set {ENV_PREFIX}PGBOUNCER=true, because prepared statements and session "
            "settings do not survive it.",
        )
    if said and not asked.is_pooled:
        return warning(
            "pooler",
            f"{ENV_PREFIX}PGBOUNCER is set and the connection is direct: unset it, or every statement is planned anew.",
        )
    return well("pooler", "Connections go through a pooler." if said else "Connections are direct.")


async def _about_timeouts(asked: Asked) -> Finding:
    wanted = timeouts(asked.settings)
    rows = await asked.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY ($1::text[])", list(wanted))
    wrong = [
        f"{row['name']}: is {_seconds(row['setting'])}, should be {_seconds(wanted[row['name']])}"
        for row in rows
        if row["setting"] != wanted[row["name"]]
    ]
    if wrong:
        return failure(
            "timeouts", "The server does not keep the configured timeouts: see what resets them on its sessions.", wrong
        )
    return well(
        "timeouts",
        "The server keeps the configured timeouts.",
        [f"{name}: {_seconds(wanted[name])}" for name in wanted],
    )


def _seconds(milliseconds: str) -> str:
    return f"{int(milliseconds) / 1000:g} s" if milliseconds != "0" else "none"


def _about_order(asked: Asked) -> Finding:
    """Which timeouts never take effect, because another one comes first."""
    settings = asked.settings
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
    before = settings.connect_timeout * max(0, len(settings.target.hosts) - 1)
    if settings.acquire_timeout <= before:
        wrong.append(
            f"{ENV_PREFIX}ACQUIRE_TIMEOUT ({settings.acquire_timeout:g} s) must be above {before:g} s: as long may the "
            "hosts before the last one take to refuse a connection"
        )
    if wrong:
        return warning("order of timeouts", "Some timeouts never take effect: change them.", wrong)
    return well("order of timeouts", "Each timeout can take effect.")


async def _about_room(asked: Asked) -> Finding:
    size = asked.settings.pool_max_size
    if asked.is_pooled:
        return well("connections", f"A process holds {size} of the pooler's client connections at most.")
    found = await asked.one(_ROOM)
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
    return well(
        "connections",
        f"A process may hold {size} of {room} connections: room for {room // size} process(es). "
        f"{found['used']} are in use on the server.",
    )
