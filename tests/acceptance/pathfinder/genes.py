"""Gene sets: imported from conversations once, whichever tab is first."""

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from tests.acceptance.pathfinder.chats import SITE
from tests.acceptance.pathfinder.people import GeneSets, Streams, UserId
from veupath_store import ConflictError
from veupath_store.values import GeneSetSummary

router = APIRouter(tags=["genes"])


class Imported(BaseModel):
    imported: list[UUID]


@router.post("/gene-sets/import")
async def import_automatically(me: UserId, streams: Streams, gene_sets: GeneSets) -> Imported:
    """Import the genes of every strategy that has not been imported yet."""
    imported = []
    for chat in (await streams.page_gene_set_imports(me, SITE)).items:
        try:
            made = await gene_sets.import_for_stream(
                chat.stream_id, name=chat.name, gene_ids=["PF3D7_0102600", "PF3D7_0417200"], automatic=True
            )
        except ConflictError:
            continue  # another tab was first
        imported.append(made.id)
    return Imported(imported=imported)


@router.get("/gene-sets")
async def gene_sets(me: UserId, gene_sets: GeneSets) -> list[GeneSetSummary]:
    return list((await gene_sets.page_summaries(me, SITE)).items)
