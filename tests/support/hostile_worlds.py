"""What the methods of the matrix are called with when all is right."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from tests.support.hostile_kinds import (
    experiment_save,
    gene_set_save,
)
from veupath_store.repositories import (
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.values import (
    ControlSetPatch,
    ProjectionPatch,
    ProjectionSort,
)


async def new_world() -> SimpleNamespace:
    """A user with one of everything; `examples` are right values."""
    user = await UserRepository().create()
    stream = await StreamRepository().create(user.id, "plasmodb", experiment_id=uuid4())
    experiment, gene_set = experiment_save(user.id), gene_set_save(user.id)
    await ExperimentRepository().write(experiment)
    await GeneSetRepository().write(gene_set)
    control_set = await ControlSetRepository().create(
        name="Kinases", site_id="plasmodb", record_type="transcript", positive_ids=[], negative_ids=[], user_id=user.id
    )
    examples = {
        "user_id": user.id, "stream_id": stream.id, "site_id": "plasmodb", "experiment_id": stream.experiment_id,
        "wdk_strategy_id": 7, "live_wdk_ids": [7], "external_id": f"{user.id}@example.org", "name": "Kinases",
        "record_type": "transcript", "positive_ids": ["G1"], "negative_ids": [], "patch": ProjectionPatch(),
        "gene_set_id": gene_set.id, "gene_ids": ["G1"], "strategies": [{"wdk_strategy_id": 8}], "type": "experiment",
        "types": ["experiment"], "worker_id": "w", "lease_seconds": 60, "error": "why", "ids": [experiment.id],
        "status": "pending", "data": {}, "batch_id": "b", "benchmark_id": "b", "field": "status", "value": 1,
        "version": 1,
    }  # fmt: skip
    lease = await _new_lease(SimpleNamespace(examples=examples))
    keys = {
        UserRepository: user.id,
        StreamRepository: stream.id,
        ControlSetRepository: control_set.id,
        OperationRepository: lease["lease"].operation_id,
        ExperimentRepository: experiment.id,
        GeneSetRepository: gene_set.id,
    }
    examples |= lease | {"operation_id": lease["lease"].operation_id}
    return SimpleNamespace(stream=stream, examples=examples, keys=keys, saves=(experiment, gene_set))


# Right values for one repository, or for one method, where those of the world are not.
def examples_of(world: SimpleNamespace, repository: type, method: str) -> dict[str, Any]:
    """Right values for the parameters of one method."""
    owner, experiment = repository.__name__, world.saves[0]
    own: dict[str, dict[str, Any]] = {
        "ControlSetRepository": {"patch": ControlSetPatch()},
        "ExperimentRepository": {"save": experiment, "experiment_id": experiment.id},
        "GeneSetRepository": {"save": world.saves[1]},
    }
    key = world.keys.get(repository, world.examples["user_id"])
    return {**world.examples, "id": key, **own.get(owner, {})}


# Optional parameters that are given all the same: the others then have more right values.
GIVEN: dict[str, tuple[str, ...]] = {
    "StreamRepository.page_projections": ("site_id",),
    "OperationRepository.register": ("stream_id",),
    "OperationRepository.start": ("stream_id",),
}
# Further arguments of a call, for a second round of trials of one parameter, and what that takes.
MORE: dict[str, tuple[dict[str, Any], str]] = {
    "StreamRepository.page_projections.cursor": ({"sort": ProjectionSort.NAME}, "by name"),
}

Fresh = Callable[[SimpleNamespace], Awaitable[dict[str, Any]]]


async def _new_lease(world: SimpleNamespace) -> dict[str, Any]:
    lease = await OperationRepository().start(
        world.examples["user_id"], "experiment", worker_id="w", lease_seconds=60, max_attempts=9
    )
    return {"lease": lease}


async def _waiting(world: SimpleNamespace) -> dict[str, Any]:
    await OperationRepository().register(world.examples["user_id"], "experiment")
    return {}


async def _new_stream_id(world: SimpleNamespace) -> dict[str, Any]:
    return {"stream_id": uuid4()}


async def _another_stream(world: SimpleNamespace) -> dict[str, Any]:
    stream = await StreamRepository().create(world.examples["user_id"], "plasmodb")
    return {"stream_id": stream.id}


async def _new_id(world: SimpleNamespace) -> dict[str, Any]:
    return {"experiment_id": uuid4(), "gene_set_id": uuid4()}


async def _new_experiment_save(world: SimpleNamespace) -> dict[str, Any]:
    return {"save": experiment_save(world.examples["user_id"])}


async def _new_gene_set_save(world: SimpleNamespace) -> dict[str, Any]:
    return {"save": gene_set_save(world.examples["user_id"])}


async def _another_user(world: SimpleNamespace) -> dict[str, Any]:
    return {"user_id": (await UserRepository().create()).id}


# What a call uses up, made anew for each right value.
FRESH: dict[str, Fresh] = {
    "AccountRepository.purge": _another_user,
    "StreamRepository.ensure": _new_stream_id,
    "StreamRepository.get_or_create_for_experiment": _new_id,
    "OperationRepository.register": _another_stream,
    "OperationRepository.start": _another_stream,
    "LeaseRepository.claim": _waiting,
    **{
        f"LeaseRepository.{method}": _new_lease
        for method in ("assert_lease", "cancel", "complete", "fail", "get_outcome", "heartbeat", "release")
    },
    "ExperimentRepository.save": _new_id,
    "ExperimentRepository.write": _new_experiment_save,
    "GeneSetRepository.write": _new_gene_set_save,
    "GeneSetRepository.save": _new_id,
    "GeneSetRepository.import_for_stream": _another_stream,
}
