"""The connections to Redis, and requests of several commands in one round trip.

The connections are redis-py's, their pool and the requests are not. redis-py's own may repeat a command, which for
an ``XADD`` makes two entries of one; it bounds each read by a timeout instead of the whole call; and a task that is
cancelled while it gives a connection back takes that connection out of the pool for good.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from veupath_store.errors import ConfigurationError, StoreClosedError, StoreError, UnavailableError
from veupath_store.servers.redis_url import RedisTarget

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

Command: TypeAlias = tuple[str | bytes | int | float, ...]

CONNECTIONS: Final = 32
"""Connections that one process may hold at most; further calls wait, within their timeout."""

ASK_EVERY: Final = 1.0
"""Seconds after which Sentinels are asked again whether the master is still the one that is used."""


class RefusedError(UnavailableError):
    """The server answers, and refuses for now; every other request of the kind would be refused as well."""


class NotWritableError(RefusedError):
    """The server takes no writes, as one that was demoted in a failover."""


class FullError(RefusedError):
    """The server's memory is full, and it drops nothing."""


class NotAllowedError(ConfigurationError):
    """The server denies the user a command or a key."""


class WrongPasswordError(ConfigurationError):
    """The server refuses the user or its password."""


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

            from veupath_store.events.log import connection, errors  # noqa: PLC0415 - need it
        except ImportError as exc:
            raise ConfigurationError(
                "REDIS_URL is set, and the event log needs the package redis: pip install 'veupath-store[events]'"
            ) from exc
        if target.embedded is not None:
            from veupath_store.servers.redis import EmbeddedRedis  # noqa: PLC0415 - for development only

            EmbeddedRedis(target.embedded).command()  # refuses where the wheel is missing
        self._errors = errors
        self._open = connection.open_master if target.sentinels else connection.open_connection
        self._named_master, self._asked = connection.named_master, 0.0
        self._target = target
        self._timeout = timeout
        self._idle: list[AbstractConnection] = []
        self._era = 0
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._closed = False
        self._process = os.getpid()

    async def run(self, commands: Iterable[Command], *, writes: bool = False) -> list[Any]:
        """As `run_each`, but what the server says against a command is raised."""
        replies = await self.run_each(commands, writes=writes)
        for reply in replies:
            if isinstance(reply, StoreError):
                raise reply from reply.__cause__
        return replies

    async def run_each(self, commands: Iterable[Command], *, writes: bool = False) -> list[Any]:
        """Send commands in one write and read all their answers.

        Args:
            writes: Whether they must not be repeated when their answer is lost.

        Returns:
            An answer for each command: what the server says against one is an error in its place.

        Raises:
            UnavailableError: The server is out of reach.
            OutcomeUnknownError: The answers to commands that write were lost.
            ConfigurationError: The server refused the credentials, or TLS lacks a file.
        """
        sent, asked = False, list(commands)
        try:
            async with asyncio.timeout(self._timeout), self._room:
                era, connection = self._era, await self._take()
                sent = True
                replies = await converse(connection, asked)
                await self._give_back(connection, era)
        except self._errors.DRIVER_ERRORS as exc:
            if sent:
                await self._leave()  # the others go to the same server, which failed or is silent
            raise self._errors.translate(exc, sent=sent, writes=writes) from exc
        answers = [self._answer(command, reply) for command, reply in zip(asked, replies, strict=True)]
        if any(isinstance(answer, NotWritableError) for answer in answers):
            await self._leave()  # a server that was demoted: the next request asks anew where the log is
        return answers

    def _answer(self, command: Command, reply: Any) -> Any:  # noqa: ANN401 - whatever the server says
        if not isinstance(reply, self._errors.DRIVER_ERRORS):
            return reply
        error = self._errors.translate(reply, sent=True, writes=False, keys=_keys(command))
        error.__cause__ = reply
        return error

    async def _leave(self) -> None:
        """Use no connection again that was opened before."""
        self._era += 1
        while self._idle:
            await drop(self._idle.pop())

    async def close(self) -> None:
        """Close the connections; those in use when their requests are done. Further requests are refused."""
        self._closed = True
        await self._leave()

    async def _take(self) -> "AbstractConnection":
        # Two turns of the event loop, one to see and one to hear which idle connections the server has closed. Without
        # them an append after a restart of the server is lost, and it is not known whether it was saved.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self._closed:
            raise StoreClosedError("The event log of this process is closed.")
        if self._process != os.getpid():
            raise StoreClosedError("This event log belongs to the parent of this process; get another one here.")
        if self._target.sentinels and self._idle:
            await self._follow_master()
        while self._idle:
            connection = self._idle.pop()
            if is_open(connection):
                return connection
            await drop(connection)
        return await self._open(await self._target_now())

    async def _follow_master(self) -> None:
        """Once in a while: leave a server that the Sentinels do not name any more."""
        if time.monotonic() - self._asked < ASK_EVERY:
            return
        self._asked = time.monotonic()
        place = await self._named_master(self._target)
        if place is not None and any((it.host, it.port) != place for it in self._idle):  # type: ignore[attr-defined]
            await self._leave()

    async def _give_back(self, connection: "AbstractConnection", era: int) -> None:
        if self._closed or era != self._era:
            await drop(connection)
        else:
            self._idle.append(connection)

    async def _target_now(self) -> RedisTarget:
        """Where to connect: of an embedded server, which is started if need be, its socket."""
        if self._target.embedded is None:
            return self._target
        from veupath_store.servers.redis import join_embedded  # noqa: PLC0415 - for development only

        return replace(self._target, socket=await asyncio.to_thread(join_embedded, self._target.embedded))


async def converse(connection: "AbstractConnection", commands: Sequence[Command]) -> list[Any]:
    """Send commands in one write and read all their answers.

    Errors of single commands come back as values, so that every answer is read before one of them is raised.
    """
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


def _keys(command: Command) -> list[str]:
    """Those of the keys that the store's commands name which may be of another type than is expected."""
    if command[0] == "EVAL":
        return [str(key) for key in command[3 : 3 + min(2, int(command[2]))]]
    first = command.index("STREAMS") + 1 if command[0] == "XREAD" else 1
    return [str(key) for key in command[first : first + 1]]
