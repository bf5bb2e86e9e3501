"""The web application: ``uvicorn example.app:app --workers 2``. It holds no state but what the store keeps."""

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.responses import FileResponse

from example import control_sets, conversations, experiments, operations, people
from veupath_store.integrations.fastapi import register_store

PAGE: Final = Path(__file__).with_name("page.html")

app = FastAPI(title="A small PathFinder")
register_store(app)
for part in (people, conversations, operations, experiments, control_sets):
    app.include_router(part.router)


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page, which calls the routes."""
    return FileResponse(PAGE)
