"""The web application. It holds no state but what the store keeps."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from tests.acceptance.pathfinder import chats, people
from tests.acceptance.pathfinder.orchestrator import worker
from veupath_store import start_detached
from veupath_store.integrations.fastapi import PROBLEM_RESPONSES, register_store

HAS_WORKER: Final = os.environ.get("PATHFINDER_WORKER") == "1"
"""Whether there is a worker process; else the web processes answer, and look after the store."""


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    answering = None if HAS_WORKER else start_detached(worker().run())
    yield
    if answering is not None:
        answering.cancel()  # its operations are given back, for the other process
        await asyncio.wait({answering})


app = FastAPI(title="PathFinder in small", responses=PROBLEM_RESPONSES, lifespan=lifespan)
register_store(
    app,
    maintain=not HAS_WORKER,
    problem_members=lambda connection, _: {"instance": connection.url.path},
)
for part in (people, chats):
    app.include_router(part.router)
