"""Experiments and gene sets for tests."""

from typing import Any
from uuid import UUID, uuid4

from veupath_store import ExperimentRepository, GeneSetRepository


def experiment(user: Any, **given: Any) -> dict[str, Any]:
    """The arguments of a save, but for the id and the version."""
    return {
        "user_id": user.id,
        "site_id": "plasmodb",
        "name": "run",
        "status": "pending",
        "data": {"n": 0},
        **given,
    }


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
