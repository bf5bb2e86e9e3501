"""The store in a FastAPI application: ``pip install 'veupath-store[fastapi]'``.

In short:

    app = FastAPI()
    register_store(app)  # opened before the first request, closed after the last
    store = scoped_to(current_user)  # the application's own dependency: who is asking?
    Streams = Annotated[StreamRepository, store.streams]

    @app.post("/streams", responses=PROBLEM_RESPONSES)
    async def create(user_id: Annotated[UUID, store.user_id], streams: Streams) -> UUID:
        return (await streams.create(user_id, "plasmodb")).id  # committed before the response is sent
"""

try:
    import fastapi.sse  # noqa: F401 - the newest part that is needed
except ImportError as exc:
    raise ImportError(
        "veupath_store.integrations.fastapi needs FastAPI 0.135 or later: pip install 'veupath-store[fastapi]'",
        name=exc.name,
    ) from exc

from veupath_store.integrations.fastapi.dependencies import (
    EveryonesAccounts,
    EveryonesControlSets,
    EveryonesExperiments,
    EveryonesGeneSets,
    EveryonesLogs,
    EveryonesOperations,
    EveryonesStreams,
    EveryonesUsers,
    ScopedStore,
    StoreSession,
    scoped_to,
)
from veupath_store.integrations.fastapi.handlers import PROBLEM_RESPONSES, install_problem_handlers, problem_response
from veupath_store.integrations.fastapi.registration import register_store
from veupath_store.integrations.fastapi.streaming import LastEventId, ResponseCutOffError, event_stream, json_lines
from veupath_store.integrations.problems import Problem, problem_of

__all__ = [
    "PROBLEM_RESPONSES",
    "EveryonesAccounts",
    "EveryonesControlSets",
    "EveryonesExperiments",
    "EveryonesGeneSets",
    "EveryonesLogs",
    "EveryonesOperations",
    "EveryonesStreams",
    "EveryonesUsers",
    "LastEventId",
    "Problem",
    "ResponseCutOffError",
    "ScopedStore",
    "StoreSession",
    "event_stream",
    "install_problem_handlers",
    "json_lines",
    "problem_of",
    "problem_response",
    "register_store",
    "scoped_to",
]
