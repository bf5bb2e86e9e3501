"""Experiments, gene sets and control sets for tests."""

from typing import Any
from uuid import UUID, uuid4

from veupath_store import ControlSetRepository, ExperimentRepository, ExperimentSave, GeneSetRepository
from veupath_store.models import ControlSet


def experiment(user: Any, **given: Any) -> dict[str, Any]:
    """The arguments of a save, but for the id and the version."""
    run = {"name": "run", "status": "pending", "data": {"n": 0}}
    return {"user_id": user.id, "site_id": "plasmodb", **run, **given}


def gene_set(user: Any, **given: Any) -> dict[str, Any]:
    """The arguments of a save, but for the id and the version."""
    return {"user_id": user.id, "site_id": "plasmodb", "name": "set", "gene_ids": ["PF3D7_1343700"], **given}


async def new_experiment(user: Any, **given: Any) -> UUID:
    identity = uuid4()
    await ExperimentRepository().save(identity, **experiment(user, **given))
    return identity


async def new_gene_set(user: Any, **given: Any) -> UUID:
    identity = uuid4()
    await GeneSetRepository().save(identity, **gene_set(user, **given))
    return identity


async def new_control_set(name: str, **given: Any) -> ControlSet:
    """A control set, without genes and an owner where none are given."""
    lists = {"site_id": "plasmodb", "record_type": "transcript", "positive_ids": [], "negative_ids": []}
    return await ControlSetRepository().create(**{**lists, "name": name, **given})


def save(user: Any, identity: UUID, number: int = 0) -> ExperimentSave:
    """For a writer: an experiment that holds a number."""
    return ExperimentSave(id=identity, **experiment(user, data={"n": number}))


async def stored(identity: UUID) -> Any:
    """The number that an experiment holds, or None when there is none."""
    row = await ExperimentRepository().get_by_id(identity)
    return row and row.data["n"]


class Failures(list):
    """Collects what a writer reports."""

    def __call__(self, document: Any, error: Exception) -> None:
        self.append((document.id, type(error)))
