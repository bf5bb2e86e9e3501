"""A proxy before a server: it counts round trips, and cuts connections at a chosen point."""

import asyncio
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from veupath_store.servers.database_url import parse_database_url
from veupath_store.servers.redis_url import parse_redis_url


class Proxy:
    """Stands between the store and a server.

    Attributes:
        path: The socket on which it listens.
        trips: How often something was sent after the server had last answered: round trips, of requests so small that
            the server does not begin to answer before it has seen them all.
        connections: How many connections were made.
        cut: ``"request"`` closes a connection instead of passing on what was sent, ``"answer"`` instead of passing on
            what the server answered.
        answered: What the server answered, from when this is set to an empty ``bytearray``.
        dead: The connections up to this one are dead flows, as behind a firewall that has forgotten them: what is sent
            either way disappears, and nobody hears of it.
        delay: For so many seconds a new connection is accepted, and nothing is passed on.
    """

    def __init__(self, path: Path, *place: str | int) -> None:
        self.path = path
        self.trips = 0
        self.connections = 0
        self.cut: str | None = None
        self.answered: bytearray | None = None
        self.dead = 0
        self.delay = 0.0
        self._place = place
        self._asking = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        self._tasks.add(task)
        connect = asyncio.open_unix_connection if len(self._place) == 1 else asyncio.open_connection
        await asyncio.sleep(self.delay)
        answers, requests = await connect(*self._place)
        self._asking = False
        both = [
            asyncio.ensure_future(self._pass_on("request", reader, requests, number)),
            asyncio.ensure_future(self._pass_on("answer", answers, writer, number)),
        ]
        with suppress(asyncio.CancelledError):  # by `end`; asyncio's own callback cannot bear a cancelled task
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        writer.transport.abort()
        requests.transport.abort()
        self._tasks.discard(task)

    async def _pass_on(
        self, what: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        while data := await reader.read(1 << 20):
            if number <= self.dead:
                continue
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

    @property
    def redis_url(self) -> str:
        return f"unix://{self.path}"


@asynccontextmanager
async def proxy(target: str, folder: Path):
    """A proxy before the Redis server of a URL; its socket is made in the folder."""
    parsed = parse_redis_url(target)
    place = (parsed.socket,) if parsed.socket else (parsed.host, parsed.port)
    async with _listening(Proxy(folder / "proxy.sock", *place)) as it:
        yield it


@asynccontextmanager
async def database_proxy(target: str, folder: Path):
    """A proxy before the PostgreSQL server of a URL, and the URL of the same database through it."""
    parsed = parse_database_url(target)
    host, port = parsed.hosts[0]
    place = (f"{host}/.s.PGSQL.{port}",) if host.startswith("/") else (host, port)
    async with _listening(Proxy(folder / ".s.PGSQL.5432", *place)) as it:
        yield it, f"postgresql://{parsed.user}:{parsed.password or ''}@/{parsed.database}?host={quote(str(folder))}"


@asynccontextmanager
async def _listening(it: Proxy):
    server = await asyncio.start_unix_server(it.serve, path=str(it.path))
    try:
        yield it
    finally:
        server.close()
        await it.end()
