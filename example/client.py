"""A researcher's browser, for the tour and the tests: real requests over sockets, and event streams that resume."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, Self

import httpx
from httpx_sse import EventSource, ServerSentEvent

PATIENCE: Final = 30.0


class Researcher:
    """One signed-in researcher.

    Args:
        url: Where the application is.
        email: Who it is.

    Attributes:
        http: The client; its cookies say who it is.
        connections: How often an event stream was opened.
    """

    def __init__(self, url: str, email: str) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self.http = httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits)
        self.email = email
        self.connections = 0

    async def __aenter__(self) -> Self:
        await self.call("POST", "/sign-in", {"email": self.email})
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self.http.aclose()

    async def call(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        """Send a request.

        Returns:
            What was answered, as JSON; ``None`` for an answer without content.

        Raises:
            HTTPStatusError: The answer was an error.
        """
        answer = await self.http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def converse(self, name: str = "") -> str:
        """Begin a conversation; its id."""
        created = await self.call("POST", "/conversations", {"name": name})
        identity: str = created["stream_id"]
        return identity

    async def ask(self, stream_id: str, content: str) -> str:
        """Ask a question; the id of its operation."""
        operation = await self.call("POST", f"/conversations/{stream_id}/messages", {"content": content})
        identity: str = operation["id"]
        return identity

    async def follow_once(self, path: str, last: str = "") -> AsyncGenerator[ServerSentEvent, None]:
        """The events of one connection, until it ends."""
        headers = {"Last-Event-ID": last} if last else {}
        async with self.http.stream("GET", path, headers=headers, timeout=httpx.Timeout(PATIENCE, read=None)) as answer:
            answer.raise_for_status()
            self.connections += 1
            async for event in EventSource(answer).aiter_sse():
                if event.id:
                    yield event

    async def follow(self, path: str, last: str = "") -> AsyncGenerator[ServerSentEvent, None]:
        """The events of as many connections as it takes, as a browser does it: each resumes after the last event."""
        while True:
            try:
                async with aclosing(self.follow_once(path, last)) as events:
                    async for event in events:
                        last = event.id
                        yield event
            except httpx.TransportError:
                continue  # the server went away; another one, or it again, answers
