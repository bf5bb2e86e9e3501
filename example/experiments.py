"""Experiments: a document that its job saves as it goes, and that its researcher may annotate meanwhile."""

from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter
from pydantic import BaseModel

from example.evaluation import ROUNDS
from example.people import Experiments, Operations, UserId
from veupath_store import NotFoundError
from veupath_store.integrations.fastapi import PROBLEM_RESPONSES
from veupath_store.repositories import Page
from veupath_store.values import ExperimentSummary, OperationType

ATTEMPTS = 3

router = APIRouter(prefix="/experiments", tags=["experiments"], responses=PROBLEM_RESPONSES)


class NewExperiment(BaseModel):
    """What is to be evaluated."""

    name: str
    site_id: str = "plasmodb"


class Experiment(BaseModel):
    """An experiment with its document."""

    id: UUID
    name: str
    status: str
    version: int
    data: dict[str, Any]


class Notes(BaseModel):
    """A remark, on the version that its author has seen."""

    notes: str
    version: int | None = None


@router.post("", status_code=202)
async def start(new: NewExperiment, user_id: UserId, experiments: Experiments, operations: Operations) -> Experiment:
    """Save an experiment and have a worker run it: both, or neither. The operation has the experiment's id."""
    identity, data = uuid4(), {"rounds": ROUNDS, "scores": []}
    version = await experiments.save(
        identity, user_id=user_id, site_id=new.site_id, name=new.name, status="pending", data=data
    )
    await operations.register(user_id, OperationType.EXPERIMENT, operation_id=identity, max_attempts=ATTEMPTS)
    return Experiment(id=identity, name=new.name, status="pending", version=version, data=data)


@router.get("")
async def page(user_id: UserId, experiments: Experiments, cursor: str | None = None) -> Page[ExperimentSummary]:
    """The researcher's experiments, without their documents."""
    return await experiments.page_summaries(user_id, cursor=cursor)


@router.get("/{experiment_id}")
async def get(experiment_id: UUID, experiments: Experiments) -> Experiment:
    """One experiment."""
    found = await experiments.get_by_id(experiment_id)
    if found is None:
        raise NotFoundError("experiment")
    return Experiment(id=found.id, name=found.name, status=found.status, version=found.version, data=found.data)


@router.put("/{experiment_id}/notes")
async def annotate(experiment_id: UUID, notes: Notes, experiments: Experiments) -> int:
    """Add a remark; a version that is no longer the stored one is a conflict (409). Returns the new version."""
    return await experiments.patch_field(experiment_id, "notes", notes.notes, version=notes.version)
