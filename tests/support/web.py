"""Applications that use the store, driven in this process, and clients that read as slowly as a test wants."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

import httpx
from fastapi import FastAPI, Header, HTTPException

from veupath_store import AccountRepository, ControlSetRepository, LogReader, StreamRepository
from veupath_store.integrations.fastapi import register_store, scoped_to

PATIENCE = 20.0


async def current_user(x_user: Annotated[UUID | None, Header()] = None) -> UUID:
    if x_user is None:
        raise HTTPException(401, "Who are you?")
    return x_user


scoped = scoped_to(current_user)
Me = Annotated[UUID, scoped.user_id]
Streams = Annotated[StreamRepository, scoped.streams]
ControlSets = Annotated[ControlSetRepository, scoped.control_sets]
Accounts = Annotated[AccountRepository, scoped.accounts]
Logs = Annotated[LogReader, scoped.log_reader]


def registered(**options) -> FastAPI:
    """An application with the store and without documentation routes."""
    app = FastAPI(openapi_url=None)
    register_store(app, **options)
    return app


Routes = Callable[..., Any] | dict[str, Callable[..., Any]]
"""The function of the route ``/``, or functions by their paths."""


def routed(app: FastAPI, routes: Routes) -> FastAPI:
    """The application, with routes for whichever method."""
    for path, route in (routes if isinstance(routes, dict) else {"/": routes}).items():
        app.api_route(path, methods=["GET", "POST", "DELETE"])(route)
    return app


def serving(routes: Routes, **options):
    """A client of an application with the store that runs and has these routes."""
    return running(routed(registered(**options), routes))


@asynccontextmanager
async def running(app: FastAPI):
    """A client of an application whose lifespan runs; an error that nothing answers is raised here."""
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://store", timeout=PATIENCE)


def as_user(user) -> dict[str, str]:
    return {"X-User": str(user.id)}


class SlowClient:
    """One request whose response is taken piece by piece: the application waits while nobody reads."""

    def __init__(self, app: FastAPI, path: str, headers: dict[str, str] | None = None) -> None:
        self._app = app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "client": ("127.0.0.1", 1),
            "server": ("store", 80),
        }
        self._asked = False
        self._gone = asyncio.Event()
        self._offered: asyncio.Queue = asyncio.Queue()
        self._taken = asyncio.Semaphore(0)

    async def __aenter__(self):
        self.serving = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        return self

    async def __aexit__(self, *error):
        await self.leave()

    async def _receive(self):
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        # As a server does: what is sent to a client that is gone goes nowhere, at once.
        if not self._gone.is_set():
            self._offered.put_nowait(message)
            await self._taken.acquire()

    async def take(self) -> dict:
        """The next piece, once the application offers it."""
        async with asyncio.timeout(PATIENCE):
            message = await self._offered.get()
        self._taken.release()
        return message

    async def head(self) -> tuple[int, dict[str, str]]:
        message = await self.take()
        return message["status"], {name.decode(): value.decode() for name, value in message["headers"]}

    async def text(self) -> str:
        return (await self.take())["body"].decode()

    async def begin(self) -> None:
        """Take the head of an answer that is no error, and the first piece of its body."""
        assert (await self.head())[0] == 200
        await self.text()

    async def end(self) -> BaseException | None:
        """The application has done all that it does; what it raised."""
        await asyncio.wait([self.serving], timeout=PATIENCE)
        assert self.serving.done()
        return self.serving.exception()

    async def leave(self) -> None:
        """Go away, and see the application notice."""
        self._gone.set()
        self._taken.release()
        await asyncio.wait([self.serving], timeout=PATIENCE)
        assert self.serving.done(), "the application did not notice that its client is gone"
