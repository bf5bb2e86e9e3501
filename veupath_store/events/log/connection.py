"""Making a connection to Redis, or saying why that failed.

With Sentinels it is to the master that they name, asked for each new connection, and from time to time for the others.
After a failover that is another server, and the old one need not know: it may go on for ten seconds as if it were the
master, and lose what it acknowledges.
"""

import asyncio
import inspect
import os
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.asyncio import connection as kinds
from redis.exceptions import ResponseError

from veupath_store.errors import ConfigurationError, StoreError, UnavailableError
from veupath_store.events.log.client import NotWritableError, WrongPasswordError, converse, drop
from veupath_store.events.log.errors import DRIVER_ERRORS, TLS_OPTIONS, is_lost, not_connected
from veupath_store.servers.dead_peers import detect_dead_peer
from veupath_store.servers.inherited import keep_from_children
from veupath_store.servers.network_faults import Reason, handshake_reason
from veupath_store.servers.redis_url import RedisTarget

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

_HANDSHAKE: Final = 0.5
"""Seconds after which a server that leaves a TLS handshake unanswered is asked whether it speaks TLS at all."""

_PATIENCE: Final = 1.0
"""Seconds for which a server is asked that, or why it hung up: where that is about TLS, neither side says so."""

_PLAIN: Final = Reason("it answers, but not in TLS", "Write redis:// in REDIS_URL, or turn TLS on for this port")
_WANTS_TLS: Final = Reason("it wants TLS", "Write rediss:// in REDIS_URL, or the port that it has without TLS")

_CLUSTER: Final = (
    "REDIS_URL names a Redis Cluster (cluster_enabled:1), which the event log cannot use: a log, its marks and its "
    "events' keys must be on one server. Name a server that is no cluster's; redis+sentinel://… is there for failover."
)
_SENTINEL: Final = "REDIS_URL names a Sentinel as if it held the log: write redis+sentinel://HOST:PORT/SERVICE."

Place: TypeAlias = tuple[str, int]

_NAMING: Final = 0.25
"""Seconds for which a call waits to hear whether its master is still the one."""

_SENTINEL_REFUSED: Final = Reason(
    "this Sentinel refused the user or its password, or wants one",
    "Correct sentinel_username and sentinel_password in REDIS_URL",
)


async def open_connection(target: RedisTarget, *, is_master: bool = False) -> "AbstractConnection":
    """Connect to the target's host or socket, and see that it can hold a log.

    Takes as long as it takes: the caller bounds it. A password that is asked for, and is refused, is asked for again
    once: it may have changed in between.

    Args:
        is_master: Whether it must be a master, as a Sentinel said.
    """
    try:
        connection = await open_any(target)
    except WrongPasswordError:
        if target.ask_password is None:
            raise
        connection = await open_any(target)
    try:
        await _refuse_unfit(connection, target, is_master=is_master)
    except DRIVER_ERRORS as exc:
        raise not_connected(exc, target) from exc
    except BaseException:
        await drop(connection)
        raise
    return connection


async def open_any(target: RedisTarget) -> "AbstractConnection":
    """As `open_connection`, whatever the server is."""
    connection = _new(target, await _password(target))
    try:
        await _connect(connection, target)
        if connection._writer is not None:
            keep_from_children(connection._writer.transport)
            detect_dead_peer(connection._writer.transport)
    except BaseException as exc:
        await drop(connection)
        if not isinstance(exc, DRIVER_ERRORS):
            raise
        why = await _why_lost(target) if is_lost(exc, target) and target.socket is None else None
        raise (ConfigurationError(why.sentence(target.place)) if why else not_connected(exc, target)) from exc
    return connection


async def _connect(connection: "AbstractConnection", target: RedisTarget) -> None:
    connecting = asyncio.ensure_future(connection.connect())  # type: ignore[no-untyped-call]
    try:
        # A server without TLS takes the beginning of a handshake for half a command, and waits for the rest.
        is_late = target.tls is not None and not (await asyncio.wait({connecting}, timeout=_HANDSHAKE))[0]
        why = await _why_silent(target) if is_late else None
        if why is not None:
            raise ConfigurationError(why.sentence(target.place))
        await connecting
    finally:
        connecting.cancel()
        await asyncio.wait({connecting})  # what it opened is there to be dropped


async def _password(target: RedisTarget) -> str | None:
    if target.ask_password is None:
        return target.password
    try:
        answer = target.ask_password()
        return await answer if inspect.isawaitable(answer) else answer
    except Exception as exc:
        raise UnavailableError(f"redis_password raised {type(exc).__name__}: there is no password for Redis.") from exc


def _new(target: RedisTarget, password: str | None) -> "AbstractConnection":
    options: dict[str, Any] = {
        "db": target.database,
        "username": target.user,
        "password": password,
        "protocol": 2,
        # The caller bounds the whole.
        "socket_timeout": None,
        "socket_connect_timeout": None,
    }
    if target.socket is not None:
        return kinds.UnixDomainSocketConnection(path=target.socket, **options)
    options |= {"host": target.host, "port": target.port}
    if target.tls is None:
        return kinds.Connection(**options)
    for file in target.files:
        if not os.access(file, os.R_OK):
            raise ConfigurationError(f"REDIS_URL names the file {file} for TLS, and it cannot be read.")
    return kinds.SSLConnection(**options, **target.tls)


async def _refuse_unfit(connection: "AbstractConnection", target: RedisTarget, *, is_master: bool) -> None:
    """By what the server says of itself, which no user can be denied; not where it does not know the question."""
    [answer] = await converse(connection, [("HELLO", 2)])
    facts = {} if isinstance(answer, ResponseError) else dict(zip(answer[::2], answer[1::2], strict=False))
    if facts.get(b"mode") == b"cluster":
        raise ConfigurationError(_CLUSTER)
    if facts.get(b"mode") == b"sentinel":
        raise ConfigurationError(_SENTINEL)
    if is_master and facts.get(b"role", b"master") != b"master":
        raise NotWritableError(f"{target.place}: a Sentinel names it as the master, and it is a replica.")


async def _why_silent(target: RedisTarget) -> Reason | None:
    """Of a server that leaves a TLS handshake unanswered: whether it answers a PING in clear text."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                writer.write(b"PING\r\n")
                return _PLAIN if await reader.read(1) in (b"+", b"-") else None
            finally:
                writer.transport.abort()
    return None


async def _why_lost(target: RedisTarget) -> Reason | None:
    """Of a server that hung up: whether it wants TLS, or another client certificate."""
    with suppress(OSError, TimeoutError):
        alert = await _tls_alert(target)
        if target.tls is None:
            return _WANTS_TLS
        return handshake_reason(alert, TLS_OPTIONS) if alert is not None else None
    return None


async def _tls_alert(target: RedisTarget) -> ssl.SSLError | None:
    """What a server has against a TLS connection on which nothing is sent; ``None`` where it waits for something."""
    context = ssl.create_default_context()
    # It gets no word of ours, whoever it is: it need not be verified.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if target.tls is not None and "ssl_certfile" in target.tls:
        context.load_cert_chain(target.tls["ssl_certfile"], target.tls.get("ssl_keyfile"))
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
            try:
                async with asyncio.timeout(_PATIENCE / 4):
                    await reader.read(1)
            except TimeoutError:
                return None
            finally:
                writer.transport.abort()
    except ssl.SSLError as exc:
        if "ALERT" not in str(exc):
            raise
        return exc
    return None


async def open_master(target: RedisTarget) -> "AbstractConnection":
    """Connect to the master of the target's service.

    What the first Sentinel names is tried, and what another one names where that is no master any more, or not yet.
    """
    refusals: list[StoreError] = []
    tried: set[Place] = set()
    async with aclosing(_named(target)) as named:
        async for place in named:
            try:
                if isinstance(place, StoreError):
                    raise place
                if place not in tried:
                    tried.add(place)
                    return await open_connection(replace(target, host=place[0], port=place[1]), is_master=True)
            except StoreError as exc:
                refusals.append(exc)
    raise _none_accepts(target, refusals)


async def named_master(target: RedisTarget) -> Place | None:
    """What the first Sentinel names that answers in time; ``None`` where none does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_NAMING), aclosing(_named(target)) as named:
            async for place in named:
                if not isinstance(place, StoreError):
                    return place
    return None


async def _named(target: RedisTarget) -> AsyncGenerator[Place | StoreError, None]:
    """What each Sentinel says, as they answer. All are asked at once: redis-py would wait for one after the other."""
    answers = [asyncio.ensure_future(_asked_of(target, place)) for place in target.sentinels]
    try:
        for answer in asyncio.as_completed(answers):
            try:
                said: Place | StoreError = await answer
            except StoreError as exc:
                said = exc
            yield said
    finally:
        for task in answers:
            task.cancel()
        await asyncio.wait(answers)


async def _asked_of(target: RedisTarget, place: Place) -> Place:
    """Where the master is, in one Sentinel's view."""
    user, password = target.sentinel_user, target.sentinel_password
    sentinel = replace(
        target, host=place[0], port=place[1], user=user, password=password, ask_password=None, database=0
    )
    try:
        connection = await open_any(sentinel)
    except WrongPasswordError as exc:
        raise ConfigurationError(_SENTINEL_REFUSED.sentence(sentinel.place)) from exc
    try:
        [answer] = await converse(connection, [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.service)])
        if isinstance(answer, Exception):
            raise answer
    except DRIVER_ERRORS as exc:
        raise not_connected(exc, sentinel) from exc
    finally:
        await drop(connection)
    if answer is None:
        raise ConfigurationError(
            f"{sentinel.place}: this Sentinel watches no master of the name {target.service!r}. Correct it in the URL."
        )
    host, port = answer
    return host.decode(), int(port)


def _none_accepts(target: RedisTarget, refusals: Sequence[StoreError]) -> StoreError:
    """One error for all, with each one's own reason."""
    permanent = all(isinstance(refusal, ConfigurationError) for refusal in refusals)
    kind = ConfigurationError if permanent else UnavailableError
    reasons = dict.fromkeys(map(str, refusals))  # two Sentinels name one master
    summary = kind(" ".join((f"No master {target.service!r} accepts a connection.", *reasons)))
    summary.__cause__ = refusals[-1].__cause__
    return summary
