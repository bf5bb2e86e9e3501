"""A proxy before a Redis server: it counts round trips, and cuts connections at a chosen point."""

import asyncio
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from veupath_store.redis_url import parse_redis_url


class Proxy:
    """Stands between the store and a server.

    Attributes:
        url: Where it listens.
        trips: How often something was sent after the server had last answered: round trips, of requests so small that
            the server does not begin to answer before it has seen them all.
        connections: How many connections were made.
        cut: ``"request"`` closes a connection instead of passing on what was sent, ``"answer"`` instead of passing on
            what the server answered.
        answered: What the server answered, from when this is set to an empty ``bytearray``.
    """

    def __init__(self, target: str, path: Path) -> None:
        self.url = f"unix://{path}"
        self.path = path
        self.trips = 0
        self.connections = 0
        self.cut: str | None = None
        self.answered: bytearray | None = None
        self._target = parse_redis_url(target)
        self._asking = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        target = self._target
        place = (target.socket,) if target.socket else (target.host, target.port)
        answers, requests = await (asyncio.open_unix_connection if target.socket else asyncio.open_connection)(*place)
        self._asking = False
        both = [
            asyncio.ensure_future(self._pass_on("request", reader, requests)),
            asyncio.ensure_future(self._pass_on("answer", answers, writer)),
        ]
        with suppress(asyncio.CancelledError):  # by `end`; asyncio's own callback cannot bear a cancelled task
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        writer.transport.abort()
        requests.transport.abort()
        self._tasks.discard(task)

    async def _pass_on(self, what: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 20):
            # Of one connection at a time, as the tests that count use one.
            self.trips += what == "request" and not self._asking
            self._asking = what == "request"
            if self.cut == what:
                break
            if what == "answer" and self.answered is not None:
                self.answered += data
            writer.write(data)
            await writer.drain()

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy(target: str, folder: Path):
    """A proxy before the server of a URL; its socket is made in the folder."""
    it = Proxy(target, folder / "proxy.sock")
    server = await asyncio.start_unix_server(it.serve, path=str(it.path))
    try:
        yield it
    finally:
        server.close()
        await it.end()
