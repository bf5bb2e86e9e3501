"""The connections to Redis, and requests of several commands in one round trip.

The connections are redis-py's, their pool and the requests are not. redis-py's own may repeat a command, which for
an ``XADD`` makes two entries of one; it bounds each read by a timeout instead of the whole call; and a task that is
cancelled while it gives a connection back takes that connection out of the pool for good.
"""

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from veupath_store.errors import ConfigurationError, StoreClosedError
from veupath_store.redis_url import RedisTarget

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

Command: TypeAlias = tuple[str | bytes | int | float, ...]

CONNECTIONS: Final = 32
"""Connections that one process may hold at most; further calls wait, within their timeout."""


class RedisClient:
    """Sends requests to one Redis server. Opens nothing before the first request.

    Args:
        target: Where the server is.
        timeout: Seconds that one request may take, the making of a connection included.

    Raises:
        ConfigurationError: The package redis is not installed.
    """

    def __init__(self, target: RedisTarget, timeout: float) -> None:
        try:
            import redis.asyncio.connection  # noqa: F401, PLC0415 - an extra

            from veupath_store.events import redis_errors  # noqa: PLC0415 - needs it
        except ImportError as exc:
            raise ConfigurationError(
                "REDIS_URL is set, and the event log needs the package redis: pip install 'veupath-store[events]'"
            ) from exc
        self._errors = redis_errors
        self._target = target
        self._timeout = timeout
        self._idle: list[AbstractConnection] = []
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._closed = False

    async def run(self, commands: Iterable[Command], *, writes: bool = False) -> list[Any]:
        """Send commands in one write and read all their answers.

        Args:
            commands: The commands.
            writes: Whether they must not be repeated when their answer is lost.

        Returns:
            An answer for each command.

        Raises:
            UnavailableError: The server is out of reach or refuses for now.
            OutcomeUnknownError: The answer to commands that write was lost.
            ConfigurationError: The server refused the credentials, or TLS lacks a file.
            InternalError: The server refused a command.
        """
        sent = False
        try:
            async with asyncio.timeout(self._timeout), self._room:
                connection = await self._take()
                sent = True
                replies = await _converse(connection, list(commands))
                await self._give_back(connection)
            for reply in replies:
                _raise_error_in(reply)
        except self._errors.DRIVER_ERRORS as exc:
            raise self._errors.translate(exc, sent=sent, writes=writes) from exc
        return replies

    async def run_at_once(self, commands: Sequence[Command], *, writes: bool = False) -> list[Any]:
        """As `run`, in a transaction: nobody else's command comes between them.

        Returns:
            An answer for each command.

        Raises:
            UnavailableError: As `run`; nothing was done.
            OutcomeUnknownError: As `run`.
            ConfigurationError: As `run`.
            InternalError: As `run`; other commands of the transaction were carried out.
        """
        replies = await self.run([("MULTI",), *commands, ("EXEC",)], writes=writes)
        answers: list[Any] = replies[-1]
        return answers

    async def close(self) -> None:
        """Close the connections; those in use when their requests are done. Further requests are refused."""
        self._closed = True
        while self._idle:
            await _drop(self._idle.pop())

    async def _take(self) -> "AbstractConnection":
        # Two turns of the event loop, one to see and one to hear which idle connections the server has closed. Without
        # them an append after a restart of the server is sent into the void, and nobody knows whether it was saved.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self._closed:
            raise StoreClosedError("The event log of this process is closed.")
        while self._idle:
            connection = self._idle.pop()
            if _is_open(connection):
                return connection
            await _drop(connection)
        return await self._connect()

    async def _give_back(self, connection: "AbstractConnection") -> None:
        if self._closed:
            await _drop(connection)
        else:
            self._idle.append(connection)

    async def _connect(self) -> "AbstractConnection":
        connection = await self._new_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await _drop(connection)
            raise
        return connection

    async def _new_connection(self) -> "AbstractConnection":
        from redis.asyncio import connection as kinds  # noqa: PLC0415 - an extra

        target = self._target
        if target.embedded is not None:
            from veupath_store.events.embedded import join_embedded  # noqa: PLC0415 - for development only

            target = replace(target, socket=await asyncio.to_thread(join_embedded, target.embedded))
        options: dict[str, Any] = {
            "db": target.database,
            "username": target.user,
            "password": target.password,
            "protocol": 2,
            "socket_timeout": None,  # `run` bounds the whole
            "socket_connect_timeout": self._timeout,
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


async def _converse(connection: "AbstractConnection", commands: Sequence[Command]) -> list[Any]:
    """Errors of single commands come back as values, so that every answer is read before one of them is raised."""
    from redis.exceptions import ResponseError  # noqa: PLC0415 - an extra

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
        await _drop(connection)
        raise
    return replies


def _raise_error_in(reply: Any) -> None:  # noqa: ANN401 - whatever the server says
    """The first error wins: what follows it, as EXECABORT, only says that there was one."""
    if isinstance(reply, Exception):
        raise reply
    if isinstance(reply, list):
        for item in reply:
            if isinstance(item, Exception):
                raise item


def _is_open(connection: "AbstractConnection") -> bool:
    reader, writer = connection._reader, connection._writer
    if reader is None or writer is None:
        return False
    return not (reader.at_eof() or reader.exception() or writer.transport.is_closing())


async def _drop(connection: "AbstractConnection") -> None:
    """Close a connection: an answer that is still to come must never be read by another request."""
    await connection.disconnect(nowait=True)
