"""The event log's server in the memory of this process, for tests: the same commands, with the same answers.

``REDIS_URL=memory:NAME`` names one. What it holds is gone when the process ends, and no other process sees it. It
knows what `EventLog` sends and nothing else; the tests of the log run against it and against Redis.
"""

import asyncio
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from veupath_store.errors import InternalError, StoreClosedError
from veupath_store.events.entries import Position
from veupath_store.events.memory_scripts import SCRIPTS
from veupath_store.events.memory_streams import Keys, Refused, command_of, xread_of
from veupath_store.events.redis_client import Command, RedisClient


class MemoryServer:
    """What one name stands for: keys, and those who wait for something to be appended. May be used by several loops."""

    def __init__(self) -> None:
        self._keys = Keys()
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def answer(self, commands: Iterable[Command]) -> list[Any]:
        """The answers to commands; nobody else's come between them."""
        with self._lock:
            replies = [self._answer(command) for command in commands]
            waiting = set(self._waiting)
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
        return replies

    def _answer(self, command: Command) -> Any:  # noqa: ANN401 - as Redis answers
        name, *arguments = command
        if name == "EVAL":
            script, count, *rest = arguments
            keys = [_text(it) for it in rest[: int(count)]]
            return SCRIPTS[_text(script)](self._keys, keys, [_text(it) for it in rest[int(count) :]])
        return command_of(_text(name))(self._keys, *arguments)

    async def wait_for(self, after: Mapping[str, Position], span: float) -> None:
        """Wait until one of some logs holds an entry after a position.

        Args:
            after: The position that was seen of each log, by its key's text.
            span: Seconds after which this returns all the same.
        """
        waiter = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._waiting.add(waiter)
        try:
            async with asyncio.timeout(span):
                while not self._has_news(after):
                    waiter[1].clear()
                    if not self._has_news(after):
                        await waiter[1].wait()
        except TimeoutError:
            return
        finally:
            with self._lock:
                self._waiting.discard(waiter)

    def _has_news(self, after: Mapping[str, Position]) -> bool:
        with self._lock:
            found = ((self._keys.streams.get(key), position) for key, position in after.items())
            return any(stream.newest > seen for stream, seen in found if stream is not None)


_servers: Final[dict[str, MemoryServer]] = {}


def server_named(name: str) -> MemoryServer:
    """The server of a name, made on first use."""
    return _servers.setdefault(name, MemoryServer())


def forget_server(name: str) -> None:
    """Let go of a server and of all that it holds. One that is not there is no error."""
    _servers.pop(name, None)


class MemoryClient(RedisClient):
    """Sends requests to a server in this process.

    Args:
        name: The server's.
    """

    def __init__(self, name: str) -> None:  # nothing of a connection is needed
        self.server: Final = server_named(name)
        self._closed = False

    async def run(self, commands: Iterable[Command], *, writes: bool = False) -> list[Any]:
        """As `RedisClient.run`.

        Raises:
            InternalError: A command is refused.
            StoreClosedError: The log is closed.
        """
        del writes
        sent = list(commands)
        await asyncio.sleep(0)  # others run meanwhile, as they do while Redis answers
        for command in sent:
            if command[0] == "XREAD":
                wanted = xread_of(command)
                await self.server.wait_for(wanted.after, wanted.patience)
        if self._closed:
            raise StoreClosedError("The event log of this process is closed.")
        together = bool(sent) and sent[0] == ("MULTI",)
        try:
            replies = self.server.answer(sent[1:-1] if together else sent)
        except Refused as exc:
            raise InternalError("The log in memory refused a command of the store.") from exc
        return [replies] if together else replies

    async def close(self) -> None:
        """Refuse further requests."""
        self._closed = True


def _text(value: str | bytes | int | float) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
