"""Opening one connection, on the first host that will have us."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from veupath_store.config import StoreSettings
from veupath_store.database_url import DatabaseTarget
from veupath_store.engine.translation import Phase, translate
from veupath_store.errors import UnavailableError

logger = logging.getLogger("veupath_store.engine")

CLIENT_CHECK_INTERVAL: Final = "2000"
"""Milliseconds after which the server notices, in the middle of a statement, that its client is gone."""


def server_settings(settings: StoreSettings, target: DatabaseTarget) -> dict[str, str]:
    """Session settings that every connection starts with; none through PgBouncer, which cannot keep them."""
    if settings.pgbouncer:
        return {}
    return {
        "application_name": target.application_name or "veupath-store",
        "timezone": "UTC",
        "client_connection_check_interval": CLIENT_CHECK_INTERVAL,
        **timeouts(settings),
    }


def timeouts(settings: StoreSettings) -> dict[str, str]:
    """The server's three timeouts, in milliseconds."""
    seconds = {
        "statement_timeout": settings.statement_timeout,
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
    }
    return {name: str(max(1, round(value * 1000))) for name, value in seconds.items()}


def begin_sql(settings: StoreSettings) -> str:
    """BEGIN; through PgBouncer with the timeouts in the same round trip."""
    if not settings.pgbouncer:
        return "BEGIN"
    return "; ".join(["BEGIN", *(f"SET LOCAL {name} = {value}" for name, value in timeouts(settings).items())])


def connect_arguments(settings: StoreSettings, target: DatabaseTarget) -> dict[str, Any]:
    """The arguments of ``asyncpg.connect`` that do not depend on the host."""
    return {
        "user": target.user,
        "password": target.password,
        "database": target.database,
        "ssl": target.ssl(),
        "command_timeout": settings.command_timeout,
        "server_settings": server_settings(settings, target),
        **({"statement_cache_size": 0} if settings.pgbouncer else {}),
    }


async def connect(target: DatabaseTarget, timeout: float, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401, ASYNC109
    """Open a connection on the first of the target's hosts that accepts it and has the wanted session attributes.

    asyncpg's own timeout covers all hosts together, so that one hung host would use up the time of the others.

    Args:
        target: The hosts, and `target_session_attrs`.
        timeout: Seconds for each host.
        arguments: What `connect_arguments` returned.

    Returns:
        An asyncpg connection.

    Raises:
        UnavailableError: No host accepted it.
        ConfigurationError: A host refused the role, its password or the database.
    """
    failure: Exception | None = None
    for host, port in target.hosts:
        try:
            return await asyncpg.connect(
                host=host,
                port=port,
                timeout=timeout,
                target_session_attrs=target.target_session_attrs,
                **arguments,
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            logger.debug("host %s:%d did not accept a connection: %s", host, port, type(exc).__name__)
            failure = exc
    if failure is None or isinstance(failure, OSError | asyncpg.TargetServerAttributeNotMatched):
        tried = ", ".join(f"{host}:{port}" for host, port in target.hosts)
        raise UnavailableError(f"No server accepted a connection within {timeout:g} s each: {tried}.") from failure
    raise translate(failure, Phase.CONNECT) from failure
