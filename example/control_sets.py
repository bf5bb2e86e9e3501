"""Control sets: genes that a search should find, and genes that it should not."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from example.people import ControlSets
from veupath_store import NotFoundError
from veupath_store.integrations.fastapi import PROBLEM_RESPONSES
from veupath_store.repositories import Page
from veupath_store.values import ControlSetSummary

router = APIRouter(prefix="/control-sets", tags=["control sets"], responses=PROBLEM_RESPONSES)


class NewControlSet(BaseModel):
    """A control set as it is entered."""

    name: str
    site_id: str = "plasmodb"
    record_type: str = "transcript"
    positive_ids: list[str]
    negative_ids: list[str] = []
    tags: list[str] = []
    is_public: bool = False


@router.post("", status_code=201)
async def create(new: NewControlSet, control_sets: ControlSets) -> UUID:
    """Save a set. It is the researcher's, because the repository is."""
    return (await control_sets.create(**new.model_dump())).id


@router.get("")
async def page(
    control_sets: ControlSets,
    site_id: str = "plasmodb",
    tags: Annotated[list[str] | None, Query()] = None,
    cursor: str | None = None,
) -> Page[ControlSetSummary]:
    """Public sets and the researcher's own, with any of the tags."""
    return await control_sets.page_by_site(site_id, tags=tags, cursor=cursor)


@router.get("/containing/{gene_id}")
async def containing(gene_id: str, control_sets: ControlSets, site_id: str = "plasmodb") -> Page[ControlSetSummary]:
    """Which of them contain a gene?"""
    return await control_sets.page_containing(site_id, [gene_id])


@router.delete("/{control_set_id}", status_code=204)
async def delete(control_set_id: UUID, control_sets: ControlSets) -> None:
    """Delete one of the researcher's own sets."""
    if not await control_sets.delete(control_set_id):
        raise NotFoundError("control set")
