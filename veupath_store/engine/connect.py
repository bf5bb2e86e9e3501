"""Opening one connection, on the first host that will have us."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from veupath_store.config import StoreSettings
from veupath_store.database_url import DatabaseTarget
from veupath_store.engine.translation import Phase, translate
from veupath_store.errors import StoreClosedError, UnavailableError

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


def is_lost(connection: Any) -> bool:  # noqa: ANN401
    """Whether a borrowed connection is closed; asyncpg takes a closed one away from its borrower."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


class Connector:
    """Opens the connections of one pool. What a cancelled task began to open is finished for the next task.

    Opening takes longer than many a request is patient: if each cancelled task threw its attempt away, a pool
    could stay empty for as long as tasks are cancelled quickly (4,000 of 4,000 were, over TCP, before they had
    a connection). No more connections than the pool's size are made: an attempt that was left is taken up first.
    """

    def __init__(self, target: DatabaseTarget, timeout: float, arguments: Mapping[str, Any]) -> None:
        self._target, self._timeout, self._arguments = target, timeout, arguments
        self._left: list[asyncio.Task[Any]] = []
        self._closed = False

    async def __call__(self, *_: object, **driver: Any) -> Any:  # noqa: ANN401
        """Open a connection; asyncpg's pool calls this in place of ``asyncpg.connect``.

        Raises:
            UnavailableError: As `connect`.
            ConfigurationError: As `connect`.
            StoreClosedError: The pool was closed meanwhile.
        """
        attempt = self._taken_up()
        if attempt is None:
            own = {key: driver[key] for key in ("loop", "connection_class", "record_class")}
            opening = connect(self._target, self._timeout, {**self._arguments, **own})
            attempt = asyncio.get_running_loop().create_task(opening)
        try:
            connection = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            self._left.append(attempt)
            attempt.add_done_callback(_failed)  # asks for its error, which nobody else may do
            raise
        if self._closed:
            connection.terminate()
            raise StoreClosedError("The store was closed while a connection was being opened; nothing was saved.")
        return connection

    def _taken_up(self) -> asyncio.Task[Any] | None:
        while self._left:
            attempt = self._left.pop()
            if not attempt.done() or not (_failed(attempt) or attempt.result().is_closed()):
                return attempt
        return None

    async def close(self) -> None:
        """Close what was left and never taken up, and whatever is opened from now on."""
        self._closed = True
        left, self._left = self._left, []
        for attempt in left:
            attempt.cancel()
        for connection in await asyncio.gather(*left, return_exceptions=True):
            if not isinstance(connection, BaseException):
                connection.terminate()


def _failed(attempt: asyncio.Task[Any]) -> bool:
    return attempt.cancelled() or attempt.exception() is not None
