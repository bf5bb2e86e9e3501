"""Opening connections: what their sessions start with, on which of several hosts, and for whom."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from veupath_store.engine.connection import DURABLE, StoreConnection
from veupath_store.engine.driver import driver_arguments
from veupath_store.engine.translation import CONNECT_ERRORS, ConnectionLimitError, refusal
from veupath_store.errors import ConfigurationError, StoreClosedError, StoreError, UnavailableError
from veupath_store.servers.database_url import DatabaseTarget
from veupath_store.servers.dead_peers import DEAD_AFTER, KEEPALIVE, detect_dead_peer

if TYPE_CHECKING:
    from veupath_store.config import StoreSettings

logger: logging.Logger = logging.getLogger("veupath_store.engine")

Place = tuple[str, int]

HEAD_START: Final = 0.25
"""Seconds that a host has to accept a connection before the next one is tried beside it, as in RFC 8305."""

SESSION: Final = {
    # ON CONFLICT, FOR UPDATE and repeated statements read what others have committed meanwhile: at this level only.
    "default_transaction_isolation": "read committed",
    # How texts are written in the store's SQL, and read by `connection.leaves_nothing`.
    "standard_conforming_strings": "on",
    # Definitions of constraints and indexes are read back, and compared.
    "quote_all_identifiers": "off",
    "timezone": "UTC",
    # Milliseconds after which the server notices, in the middle of a statement, that its client is gone.
    "client_connection_check_interval": "2000",
    **{f"tcp_keepalives_{name}": str(value) for name, value in KEEPALIVE.items()},
    "tcp_user_timeout": str(DEAD_AFTER * 1000),
}
"""What every session starts with, whatever ALTER ROLE, ALTER DATABASE and the server's configuration say."""

_LOOK: Final = """
SELECT current_setting('session_replication_role') AS replication_role,
       CASE current_setting('synchronous_commit')
           WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END AS raised
"""


def server_settings(settings: "StoreSettings", target: DatabaseTarget) -> dict[str, str]:
    """Session settings that every connection starts with; none through PgBouncer, which cannot keep them."""
    if settings.pgbouncer:
        return {}
    return {
        "application_name": target.application_name or "veupath-store",
        **SESSION,
        **timeouts(settings),
    }


def timeouts(settings: "StoreSettings") -> dict[str, str]:
    """The server's three timeouts, in milliseconds."""
    seconds = {
        "statement_timeout": settings.statement_timeout,
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
    }
    return {name: str(max(1, round(value * 1000))) for name, value in seconds.items()}


def begin_sql(settings: "StoreSettings") -> str:
    """BEGIN; through PgBouncer with what its sessions cannot start with, in the same round trip."""
    if not settings.pgbouncer:
        return "BEGIN"
    return "; ".join(
        [
            "BEGIN ISOLATION LEVEL READ COMMITTED",
            *(f"SET LOCAL {name} = {value}" for name, value in timeouts(settings).items()),
            DURABLE,
        ]
    )


def connect_arguments(settings: "StoreSettings", target: DatabaseTarget) -> dict[str, Any]:
    """The arguments of ``asyncpg.connect`` that do not depend on the host."""
    return {
        **driver_arguments(target),
        "command_timeout": settings.command_timeout,
        "server_settings": server_settings(settings, target),
        "connection_class": StoreConnection,
        **({"statement_cache_size": 0} if settings.pgbouncer else {}),
    }


class Connector:
    """Opens the connections of one pool, the host of the last one first.

    What a cancelled task began to open is finished for the next task: opening takes longer than many a request is
    patient, and if each cancelled task threw its attempt away, a pool could stay empty for as long as tasks are
    cancelled quickly (4,000 of 4,000 were, over TCP, before they had a connection). No more connections than the pool's
    size are made: an attempt that was left is taken up first.
    """

    def __init__(self, target: DatabaseTarget, timeout: float, arguments: Mapping[str, Any]) -> None:
        self._target, self._timeout, self._arguments = target, timeout, arguments
        self._left: list[asyncio.Task[Any]] = []
        self._closed = self._warned = False

    async def __call__(self, *_: object, **driver: Any) -> Any:  # noqa: ANN401
        """Open a connection; asyncpg's pool calls this in place of ``asyncpg.connect``. Raises as `connect`."""
        attempt = self._taken_up()
        if attempt is None:
            own = {key: driver[key] for key in ("loop", "connection_class", "record_class")}
            opening = connect(self._target, self._timeout, {**self._arguments, **own})
            attempt = asyncio.get_running_loop().create_task(opening)
        try:
            connection = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if self._closed:
                _abandon(attempt)
            else:
                self._left.append(attempt)
                attempt.add_done_callback(has_failed)
            raise
        if self._closed:
            connection.terminate()
            raise StoreClosedError("The store was closed while a connection was being opened; nothing was saved.")
        self._prefer(connection._addr)
        if connection.raises_commits and not self._warned:
            self._warned = True
            logger.warning(
                "synchronous_commit is off, with which a crash of the server loses what it has acknowledged. The store "
                "sets it to on in its sessions; veupath-store check says where it was set."
            )
        return connection

    def _prefer(self, address: Any) -> None:  # noqa: ANN401 - a pair, or the path of a socket
        """Try the host of an open connection first from now on."""
        hosts = sorted(self._target.hosts, key=lambda place: address not in (place, f"{place[0]}/.s.PGSQL.{place[1]}"))
        self._target = replace(self._target, hosts=tuple(hosts))

    def _taken_up(self) -> asyncio.Task[Any] | None:
        while self._left:
            attempt = self._left.pop()
            if not attempt.done() or not (has_failed(attempt) or attempt.result().is_closed()):
                return attempt
        return None

    def close(self) -> None:
        """Close what was left and never taken up, and whatever is opened from now on."""
        self._closed = True
        while self._left:
            _abandon(self._left.pop())


async def connect(target: DatabaseTarget, timeout: float, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401, ASYNC109
    """Open a connection on the first of the target's hosts that accepts it and has the wanted session attributes.

    The next host is tried at once when one refuses, and beside one that does not answer within `HEAD_START`, so that
    several silent hosts cost little more than one.

    Args:
        target: The hosts, and `target_session_attrs`.
        timeout: Seconds for each host.
        arguments: What `connect_arguments` returned.

    Raises:
        UnavailableError: No host accepted it, and one of them may do so later.
        ConfigurationError: No host will accept it as it is.
    """
    wanted = target.target_session_attrs
    if wanted == "prefer-standby":
        # As libpq: all hosts are asked for a standby before any other server is taken.
        with contextlib.suppress(StoreError):
            return await connect(replace(target, target_session_attrs="standby"), timeout, arguments)
        wanted = "any"
    arguments = {**arguments, "target_session_attrs": wanted}
    return await _Race([(place, _attempt(place, arguments, timeout)) for place in target.hosts]).winner()


class _Race:
    """Attempts to connect to several hosts, or addresses of one, of which the first that succeeds is kept."""

    def __init__(self, attempts: Sequence[tuple[Place, Coroutine[Any, Any, Any]]]) -> None:
        self._left = list(attempts)
        self._several = len({place for place, _ in attempts}) > 1
        self._attempts: dict[asyncio.Task[Any], tuple[Place, float]] = {}
        self._refusals: list[StoreError] = []

    async def winner(self) -> Any:  # noqa: ANN401 - an asyncpg connection, which has no types
        """The first connection. Raises as `connect`."""
        try:
            while self._left or self._attempts:
                self._start_next()
                pause = HEAD_START if self._left else None
                done, _ = await asyncio.wait(self._attempts, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                for attempt in done:
                    if not self._failed(attempt):
                        del self._attempts[attempt]
                        return attempt.result()
        finally:
            for attempt in self._attempts:
                _abandon(attempt)
            for _, unneeded in self._left:
                unneeded.close()
        raise _summary(self._refusals if self._several else _answered(self._refusals))

    def _start_next(self) -> None:
        if self._left:
            place, coroutine = self._left.pop(0)
            attempt = asyncio.get_running_loop().create_task(coroutine)
            self._attempts[attempt] = place, time.monotonic()

    def _failed(self, attempt: asyncio.Task[Any]) -> bool:
        error = attempt.exception()
        if error is None:
            return False
        if not isinstance(error, (*CONNECT_ERRORS, StoreError)):
            raise error
        place, started = self._attempts.pop(attempt)
        failure = _refusal(error, place, time.monotonic() - started)
        logger.debug("no connection: %s", failure)
        self._refusals.append(failure)
        return True


def _abandon(attempt: asyncio.Task[Any]) -> None:
    """Cancel an attempt, and close a connection that comes all the same."""
    attempt.cancel()
    attempt.add_done_callback(_close_result)


def _close_result(attempt: asyncio.Task[Any]) -> None:
    if not has_failed(attempt):
        attempt.result().terminate()


def has_failed(attempt: asyncio.Task[Any]) -> bool:
    """Whether an attempt that is done has no result; as its callback this retrieves its error, if nobody else does."""
    return attempt.cancelled() or attempt.exception() is not None


async def _attempt(place: Place, arguments: Mapping[str, Any], seconds: float) -> Any:  # noqa: ANN401
    async with asyncio.timeout(seconds):
        loops = await _loops_to(place)
        return await _Race([(place, _opened(place, {**arguments, "loop": loop})) for loop in loops]).winner()


async def _loops_to(place: Place) -> "list[asyncio.AbstractEventLoop | _LoopTo]":
    """What connects to each address of a host; of one that has a single address, the event loop itself."""
    loop = asyncio.get_running_loop()
    if place[0].startswith("/") or _is_address(place[0]):
        return [loop]
    found = dict.fromkeys(info[4][0] for info in await loop.getaddrinfo(*place, type=socket.SOCK_STREAM))
    return [_LoopTo(loop, address) for address in found] if len(found) > 1 else [loop]


def _is_address(host: str) -> bool:
    """Whether nothing need be looked up, for which a thread would have to be free."""
    with contextlib.suppress(ValueError):
        ip_address(host)
        return True
    return False


class _LoopTo:
    """The event loop, whose connections are made to one address of the host.

    asyncpg has no ``hostaddr``. It connects to the first address that accepts, is stuck with it where that one is
    silent, or a standby's, and needs the host's name for TLS.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, address: Any) -> None:  # noqa: ANN401 - of any family
        self._loop, self._address = loop, address

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._loop, name)

    def create_connection(self, protocol: Any, host: str, port: int, **options: Any) -> Any:  # noqa: ANN401
        if options:  # TLS from the first byte
            options["server_hostname"] = host
        return self._loop.create_connection(protocol, self._address, port, **options)


async def _opened(place: Place, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
    connection = await asyncpg.connect(host=place[0], port=place[1], timeout=None, **arguments)
    connection._loop = asyncio.get_running_loop()  # it is asked for its current task, when a statement is cancelled
    try:
        detect_dead_peer(connection._transport)
        if "statement_cache_size" not in arguments:  # not through PgBouncer
            await _look_at_session(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _look_at_session(connection: Any) -> None:  # noqa: ANN401
    """Set or refuse what cannot be among the session's first settings, because it depends on what they are."""
    found = await connection.fetchrow(_LOOK)
    if found["replication_role"] != "origin":
        raise ConfigurationError(
            f"session_replication_role is {found['replication_role']}, with which foreign keys are not enforced. Type, "
            "as a superuser: ALTER ROLE … RESET session_replication_role; or the same with ALTER DATABASE … or "
            "ALTER SYSTEM, where it was set."
        )
    connection.begins_here(raises_commits=bool(found["raised"]))


def _refusal(error: BaseException, place: Place, seconds: float) -> StoreError:
    if isinstance(error, StoreError):
        return error
    failure = refusal(error, *place, seconds)
    failure.__cause__ = error
    return failure


def _summary(refusals: Sequence[StoreError]) -> StoreError:
    """One error for all hosts, with each one's own reason."""
    if len({*map(str, refusals)}) == 1:
        return refusals[-1]
    kind: type[StoreError] = UnavailableError
    if any(isinstance(error, ConnectionLimitError) for error in refusals):
        kind = ConnectionLimitError
    elif all(isinstance(error, ConfigurationError) for error in _answered(refusals)):
        kind = ConfigurationError  # no repeat helps: for any host, or for any that a server answers on
    summary = kind(" ".join(("No host accepts a connection.", *dict.fromkeys(map(str, refusals)))))
    summary.__cause__ = refusals[-1].__cause__
    return summary


def _answered(refusals: Sequence[StoreError]) -> Sequence[StoreError]:
    """Those of servers that were reached; all where none was."""
    return [
        error for error in refusals if isinstance(error, ConfigurationError) or not isinstance(error.__cause__, OSError)
    ] or refusals


def is_lost(connection: Any) -> bool:  # noqa: ANN401
    """Whether a borrowed connection is closed; asyncpg takes a closed one away from its borrower."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True
