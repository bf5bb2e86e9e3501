"""One connection to Redis: where its server is, what that must be, and one conversation over it."""

import asyncio
import inspect
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import connection as kinds
from redis.exceptions import ResponseError

from veupath_store.errors import ConfigurationError, UnavailableError
from veupath_store.events.log.client import Command, NotWritableError, WrongPasswordError
from veupath_store.events.log.errors import DRIVER_ERRORS, is_lost, not_connected
from veupath_store.events.log.probing import why_lost, why_silent
from veupath_store.servers.inherited import keep_from_children
from veupath_store.servers.redis_url import RedisTarget

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

_HANDSHAKE: Final = 0.5
"""Seconds after which a server that leaves a TLS handshake unanswered is asked whether it speaks TLS at all."""

_CLUSTER: Final = (
    "REDIS_URL names a Redis Cluster (cluster_enabled:1), which the event log cannot use: a log, its marks and its "
    "events' keys must be on one server. Name a server that is no cluster's; redis+sentinel://… is there for failover."
)
_SENTINEL: Final = "REDIS_URL names a Sentinel as if it held the log: write redis+sentinel://HOST:PORT/SERVICE."


async def open_connection(target: RedisTarget, *, is_master: bool = False) -> "AbstractConnection":
    """Connect to the target's host or socket, and see that it can hold a log.

    Takes as long as it takes: the caller bounds it. A password that is asked for, and is refused, is asked for again
    once: it may have changed in between.

    Args:
        target: Where the server is.
        is_master: Whether it must be a master, as a Sentinel said.

    Raises:
        UnavailableError: The server is out of reach, or is no master.
        ConfigurationError: No repeat will have it accept a connection, or it is a cluster.
    """
    try:
        connection = await open_any(target)
    except WrongPasswordError:
        if target.ask_password is None:
            raise
        connection = await open_any(target)
    try:
        _check(await _facts(connection), target, is_master=is_master)
    except DRIVER_ERRORS as exc:
        raise not_connected(exc, target) from exc
    except BaseException:
        await drop(connection)
        raise
    return connection


async def open_any(target: RedisTarget) -> "AbstractConnection":
    """Connect to the target's host or socket, whatever it is.

    Raises:
        UnavailableError: It is out of reach.
        ConfigurationError: No repeat will have it accept a connection.
    """
    connection = _new(target, await _password(target))
    try:
        await _connect(connection, target)
    except BaseException as exc:
        await drop(connection)
        if not isinstance(exc, DRIVER_ERRORS):
            raise
        why = await why_lost(target) if is_lost(exc, target) and target.socket is None else None
        raise (ConfigurationError(why.sentence(target.place)) if why else not_connected(exc, target)) from exc
    if connection._writer is not None:
        keep_from_children(connection._writer.transport)
    return connection


async def _connect(connection: "AbstractConnection", target: RedisTarget) -> None:
    connecting = asyncio.ensure_future(connection.connect())  # type: ignore[no-untyped-call]
    try:
        # A server without TLS takes the beginning of a handshake for half a command, and waits for the rest.
        is_late = target.tls is not None and not (await asyncio.wait({connecting}, timeout=_HANDSHAKE))[0]
        why = await why_silent(target) if is_late else None
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


async def _facts(connection: "AbstractConnection") -> dict[bytes, Any]:
    """What the server says of itself; no user can be denied that. Nothing where it does not know the question."""
    [answer] = await converse(connection, [("HELLO", 2)])
    return {} if isinstance(answer, ResponseError) else dict(zip(answer[::2], answer[1::2], strict=False))


def _check(facts: dict[bytes, Any], target: RedisTarget, *, is_master: bool) -> None:
    if facts.get(b"mode") == b"cluster":
        raise ConfigurationError(_CLUSTER)
    if facts.get(b"mode") == b"sentinel":
        raise ConfigurationError(_SENTINEL)
    if is_master and facts.get(b"role", b"master") != b"master":
        raise NotWritableError(f"{target.place}: a Sentinel names it as the master, and it is a replica.")


async def converse(connection: "AbstractConnection", commands: Sequence[Command]) -> list[Any]:
    """Send commands in one write and read all their answers.

    Errors of single commands come back as values, so that every answer is read before one of them is raised.
    """
    writer = connection._writer
    try:
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as exc:
                replies.append(exc)
    except BaseException:
        # redis-py has closed it by now, but a closed one goes on sending what is buffered: megabytes, for as long as
        # a frozen server does not take them.
        if writer is not None:
            writer.transport.abort()
        await drop(connection)
        raise
    return replies


def is_open(connection: "AbstractConnection") -> bool:
    """Whether neither side has closed it, as far as the event loop has heard."""
    reader, writer = connection._reader, connection._writer
    if reader is None or writer is None:
        return False
    return not (reader.at_eof() or reader.exception() or writer.transport.is_closing())


async def drop(connection: "AbstractConnection") -> None:
    """Close a connection: an answer that is still to come must never be read by another request.

    At once: one with TLS would wait for the other side's farewell, which may never come.
    """
    if connection._writer is not None:
        connection._writer.transport.abort()
    await connection.disconnect(nowait=True)


def with_place(target: RedisTarget, place: tuple[str, int]) -> RedisTarget:
    """The same at another host and port."""
    return replace(target, host=place[0], port=place[1])
