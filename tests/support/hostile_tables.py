"""The tables of the matrix: which parameter takes what, how what was stored reads back, and what is right to call with.

A new method or parameter needs an entry here; the tests fail without it.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from tests.support.hostile import FLAG, PLAN, SHARE, UUID_KIND, Kind, optional, text, texts, whole, whole_numbers
from tests.support.hostile_kinds import (
    DATA,
    ERROR,
    FIELD_VALUE,
    ID,
    LEASE,
    PARAMETERS,
    POSITION,
    STRATEGIES,
    TIME,
    choice,
    choices_of,
    cursor,
    identities,
    span,
)
from veupath_store import limits
from veupath_store.models import Operation
from veupath_store.repositories import (
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.repositories.base import DEFAULT_NAME
from veupath_store.repositories.control_set_patch import ControlSetPatch
from veupath_store.repositories.projection_patch import ProjectionPatch
from veupath_store.values import (
    ExperimentSave,
    GeneMatch,
    GeneSetSave,
    GeneSetSource,
    OperationType,
    ProjectionSort,
    PurgeMode,
)

# The matrix runs with a smaller limit; a test of its own takes the real one.
GENE_IDS = 1_000
NAME = text(limits.NAME)
MAYBE_EMPTY_NAME = text(limits.NAME, shortest=0)
GENE_LIST = texts(GENE_IDS, limits.GENE_ID)
WDK_ID = whole(0, limits.INT64_MAX)
COUNT = whole(0, limits.INT32_MAX)

# What a parameter takes: by "Repository.method.parameter", by "Repository.parameter", or by its name.
KINDS: dict[str, Kind] = {
    "id": UUID_KIND,
    "user_id": UUID_KIND,
    "ControlSetRepository.create.user_id": optional(UUID_KIND),
    "ControlSetRepository.list_by_site.user_id": optional(UUID_KIND),
    "ControlSetRepository.page_by_site.user_id": optional(UUID_KIND),
    "ControlSetRepository.page_containing.user_id": optional(UUID_KIND),
    "OperationRepository.register.stream_id": optional(UUID_KIND),
    "OperationRepository.start.stream_id": optional(UUID_KIND),
    "OperationRepository.register.operation_id": optional(UUID_KIND),
    "OperationRepository.start.operation_id": optional(UUID_KIND),
    "operation_id": UUID_KIND,
    "stream_id": UUID_KIND,
    "StreamRepository.create.stream_id": optional(UUID_KIND),
    "experiment_id": UUID_KIND,
    "StreamRepository.create.experiment_id": optional(UUID_KIND),
    "external_id": text(limits.EXTERNAL_ID),
    "UserRepository.create.external_id": optional(text(limits.EXTERNAL_ID)),
    "StreamRepository.site_id": text(limits.STREAM_SITE_ID),
    "StreamRepository.list_projections.site_id": optional(text(limits.STREAM_SITE_ID)),
    "StreamRepository.list_dismissed_projections.site_id": optional(text(limits.STREAM_SITE_ID)),
    "StreamRepository.page_projections.site_id": optional(text(limits.STREAM_SITE_ID)),
    "StreamRepository.iterate_projections.site_id": optional(text(limits.STREAM_SITE_ID)),
    "AccountRepository.site_id": optional(text(limits.SITE_ID)),
    "ExperimentRepository.page_summaries.site_id": optional(text(limits.SITE_ID)),
    "ExperimentRepository.iterate_summaries.site_id": optional(text(limits.SITE_ID)),
    "GeneSetRepository.save.site_id": text(limits.SITE_ID),
    "GeneSetRepository.site_id": optional(text(limits.SITE_ID)),
    "site_id": text(limits.SITE_ID),
    "StreamRepository.update_projection.name": optional(NAME),
    "StreamRepository.name": MAYBE_EMPTY_NAME,
    "ExperimentRepository.name": MAYBE_EMPTY_NAME,
    "name": NAME,
    "StreamRepository.update_projection.record_type": optional(text(limits.RECORD_TYPE)),
    "GeneSetRepository.record_type": optional(text(limits.RECORD_TYPE, shortest=0)),
    "record_type": text(limits.RECORD_TYPE),
    "positive_ids": GENE_LIST,
    "negative_ids": GENE_LIST,
    "GeneSetRepository.source": choice(GeneSetSource),
    "source": optional(text(limits.SOURCE, shortest=0)),
    "tags": optional(texts(limits.TAGS, limits.TAG)),
    "provenance_notes": optional(text(limits.PROVENANCE_NOTES, shortest=0)),
    "is_public": FLAG,
    "OperationRepository.sweep.limit": whole(1, limits.SWEEP),
    "limit": whole(1, limits.PAGE),
    "GeneSetRepository.save.wdk_strategy_id": optional(WDK_ID),
    "wdk_strategy_id": WDK_ID,
    "StreamRepository.update_projection.wdk_strategy_id": optional(WDK_ID),
    "wdk_strategy_id_set": FLAG,
    "StreamRepository.claim_wdk_strategy.is_saved": FLAG,
    "is_saved": optional(FLAG),
    "is_saved_set": FLAG,
    "plan": optional(PLAN),
    "GeneSetRepository.step_count": COUNT,
    "step_count": optional(COUNT),
    "result_count": optional(COUNT),
    "result_count_set": FLAG,
    "GeneSetRepository.save.gene_set_id": UUID_KIND,
    "gene_set_id": optional(UUID_KIND),
    "gene_set_id_set": FLAG,
    "gene_set_auto_imported": optional(FLAG),
    "live_wdk_ids": whole_numbers(limits.WDK_IDS, limits.INT64_MAX),
    "max_share": SHARE,
    "allow_empty": FLAG,
    "ControlSetRepository.patch": Kind(
        lambda value: isinstance(value, ControlSetPatch),
        lambda: [ControlSetPatch(), ControlSetPatch(name="Kinases"), {}, ProjectionPatch()],
    ),
    "patch": Kind(
        lambda value: isinstance(value, ProjectionPatch),
        lambda: [ProjectionPatch(name="Kinases"), {}, ControlSetPatch()],
    ),
    "ControlSetRepository.update.version": optional(whole(1, limits.INT32_MAX)),
    "ExperimentRepository.patch_field.version": optional(whole(1, limits.INT32_MAX)),
    "ExperimentRepository.is_written.version": whole(1, limits.INT32_MAX),
    "GeneSetRepository.is_written.version": whole(1, limits.INT32_MAX),
    "version": whole(0, limits.INT32_MAX),
    "GeneSetRepository.gene_ids": GENE_LIST,
    "GeneSetRepository.page_containing.gene_ids": texts(limits.GENES_SOUGHT, limits.GENE_ID, fewest=1),
    "ControlSetRepository.page_containing.gene_ids": texts(limits.GENES_SOUGHT, limits.GENE_ID, fewest=1),
    "match": choice(GeneMatch),
    "sort": choice(ProjectionSort),
    "dismissed": FLAG,
    "strategies": STRATEGIES,
    "mode": choice(PurgeMode),
    "dry_run": FLAG,
    "type": choice(OperationType),
    "OperationRepository.page_active.type": optional(choice(OperationType)),
    "types": choices_of(OperationType),
    "worker_id": text(limits.WORKER_ID),
    "lease_seconds": span(limits.LEASE_SECONDS),
    "start_position": POSITION,
    "max_attempts": whole(1, limits.ATTEMPTS),
    "lease": LEASE,
    "error": ERROR,
    "begun": FLAG,
    "ids": identities(limits.DOCUMENT_IDS),
    "parent_set_ids": identities(limits.PARENT_SETS),
    "status": text(limits.STATUS),
    "data": DATA,
    "parameters": optional(PARAMETERS),
    "ExperimentRepository.page_by_batch.batch_id": text(limits.BATCH_ID),
    "ExperimentRepository.page_by_benchmark.benchmark_id": text(limits.BATCH_ID),
    "batch_id": optional(text(limits.BATCH_ID, shortest=0)),
    "benchmark_id": optional(text(limits.BATCH_ID, shortest=0)),
    "is_primary": FLAG,
    "field": text(limits.DOCUMENT_FIELD),
    "value": FIELD_VALUE,
    "ExperimentRepository.save": Kind(
        lambda value: isinstance(value, ExperimentSave), lambda: [_gene_set_save(uuid4())]
    ),
    "GeneSetRepository.save": Kind(lambda value: isinstance(value, GeneSetSave), lambda: [_experiment_save(uuid4())]),
    "wdk_step_id": optional(WDK_ID),
    "search_name": optional(text(limits.SEARCH_NAME, shortest=0)),
    "operation": optional(text(limits.GENE_SET_OPERATION, shortest=0)),
    "automatic": FLAG,
    "StreamRepository.page_projections.cursor": cursor("projections", TIME, ID),
    "StreamRepository.page_gene_set_imports.cursor": cursor("to import", ID),
    "ControlSetRepository.cursor": cursor("control sets", TIME, ID),
    "OperationRepository.page.cursor": cursor("operations", TIME, ID),
    "OperationRepository.page_active.cursor": cursor("active operations", TIME, ID),
    "ExperimentRepository.page_summaries.cursor": cursor("experiments", TIME, ID),
    "ExperimentRepository.page_by_batch.cursor": cursor("batch", TIME, ID),
    "ExperimentRepository.page_by_benchmark.cursor": cursor("benchmark", True, TIME, ID),
    "GeneSetRepository.cursor": cursor("gene sets", TIME, ID),
    # The order by name has a text in its key: see `MORE`.
    "by name": cursor("by name", "Kinases", ID),
}
# The fields of a strategy that a sync takes.
STRATEGY_FIELDS: dict[str, Kind] = {
    "wdk_strategy_id": WDK_ID,
    "name": MAYBE_EMPTY_NAME,
    "record_type": optional(text(limits.RECORD_TYPE, shortest=0)),
    "is_saved": FLAG,
    "result_count": optional(COUNT),
    "step_count": COUNT,
}


def _experiment_save(user_id: UUID) -> ExperimentSave:
    return ExperimentSave(id=uuid4(), user_id=user_id, site_id="plasmodb", name="", status="pending", data={})


def _gene_set_save(user_id: UUID) -> GeneSetSave:
    return GeneSetSave(id=uuid4(), user_id=user_id, site_id="plasmodb", name="Kinases", gene_ids=[])


Reader = Callable[[dict[str, Any], Any], Awaitable[Any]]


async def _user(arguments: dict[str, Any], result: Any) -> Any:
    return await UserRepository().get_by_id(result.id)


async def _known_user(arguments: dict[str, Any], result: Any) -> Any:
    return SimpleNamespace(user_id=(await _user(arguments, result)).id)


async def _control_set(arguments: dict[str, Any], result: Any) -> Any:
    return await ControlSetRepository().get_by_id(result.id)


async def _new_stream(arguments: dict[str, Any], result: Any) -> Any:
    projection = await StreamRepository().get_projection(result.id)
    return SimpleNamespace(
        user_id=projection.user_id,
        site_id=projection.site_id,
        stream_id=projection.stream_id,
        name=projection.name,
        experiment_id=projection.stream.experiment_id,
    )


async def _projection(arguments: dict[str, Any], result: Any) -> Any:
    return await StreamRepository().get_projection(arguments["stream_id"])


async def _synced(arguments: dict[str, Any], result: Any) -> Any:
    kept = result.strategies[0].stream_id if result.strategies else None
    stream = await StreamRepository().get_projection(kept) if kept else None
    return SimpleNamespace(
        strategies=result.strategies, user_id=stream and stream.user_id, site_id=stream and stream.site_id
    )


async def _operation(arguments: dict[str, Any], result: Any) -> Any:
    row = await Operation.get(id=getattr(result, "operation_id", None) or result.id)
    held = row.lease_expires_at - row.heartbeat_at if row.heartbeat_at else None
    return SimpleNamespace(
        operation_id=row.id,
        user_id=row.user_id,
        stream_id=row.stream_id,
        type=row.type,
        start_position=row.start_position,
        max_attempts=row.max_attempts,
        worker_id=row.worker_id,
        lease_seconds=held,
    )


async def _failed(arguments: dict[str, Any], result: Any) -> Any:
    row = await Operation.get(id=arguments["lease"].operation_id)
    return SimpleNamespace(error=row.error, lease=arguments["lease"])


async def _experiment(arguments: dict[str, Any], result: Any) -> Any:
    row = await ExperimentRepository().get_by_id(arguments["experiment_id"])
    return SimpleNamespace(**{name: getattr(row, name) for name in row._meta.db_fields}, experiment_id=row.id)


async def _patched(arguments: dict[str, Any], result: Any) -> Any:
    row = await ExperimentRepository().get_by_id(arguments["experiment_id"])
    field = str.__str__(arguments["field"])
    return SimpleNamespace(
        experiment_id=row.id, field=next((key for key in row.data if key == field), None), value=row.data[field]
    )


async def _gene_set(arguments: dict[str, Any], result: Any) -> Any:
    row = await GeneSetRepository().get_by_id(arguments["gene_set_id"])
    return SimpleNamespace(**{name: getattr(row, name) for name in row._meta.db_fields}, gene_set_id=row.id)


async def _imported(arguments: dict[str, Any], result: Any) -> Any:
    projection = await StreamRepository().get_projection(arguments["stream_id"])
    row = await GeneSetRepository().get_by_id(projection.gene_set_id)
    return SimpleNamespace(
        **{name: getattr(row, name) for name in row._meta.db_fields},
        stream_id=projection.stream_id,
        automatic=projection.gene_set_auto_imported,
    )


# How to read back what a method stored; a parameter is found under its own name.
STORING: dict[str, Reader] = {
    "UserRepository.create": _user,
    "UserRepository.get_or_create": _known_user,
    "UserRepository.get_or_create_by_external_id": _user,
    "ControlSetRepository.create": _control_set,
    "ControlSetRepository.upsert_seed": _control_set,
    "StreamRepository.create": _new_stream,
    "StreamRepository.ensure": _new_stream,
    "StreamRepository.get_or_create_for_experiment": _new_stream,
    "StreamRepository.update_projection": _projection,
    "StreamRepository.claim_wdk_strategy": _projection,
    "StreamRepository.sync_wdk": _synced,
    "OperationRepository.register": _operation,
    "OperationRepository.start": _operation,
    "OperationRepository.acquire": _operation,
    "OperationRepository.fail": _failed,
    "ExperimentRepository.save": _experiment,
    "ExperimentRepository.patch_field": _patched,
    "GeneSetRepository.save": _gene_set,
    "GeneSetRepository.import_for_stream": _imported,
}
# Methods that store nothing of what they are given but look for it, or take it whole (a patch, a save, a lease).
LOOKING = {
    "assert_lease", "cancel", "complete", "delete", "dismiss", "dismiss_wdk_orphans", "export", "find_by_experiment",
    "find_by_wdk_strategy", "for_user", "get_by_id", "get_by_wdk_strategy_id", "get_many", "get_outcome",
    "get_projection", "get_status", "get_summary", "get_system_stream", "get_system_user", "get_version",
    "heartbeat", "is_written", "iterate_projections",
    "iterate_summaries", "list_active_by_stream", "list_by_site", "list_dismissed_projections", "list_projections",
    "page", "page_active", "page_by_batch", "page_by_benchmark", "page_by_site", "page_containing",
    "page_gene_set_imports", "page_projections", "page_summaries", "patch_projection", "prune_wdk_orphans", "purge",
    "release", "request_cancel", "restore", "sweep", "update", "write",
}  # fmt: skip


def _named(value: Any, stored: Any) -> bool:
    return stored == value or (value == "" and DEFAULT_NAME in stored)


def _given_or_new(value: Any, stored: Any) -> bool:
    return value is None or stored == UUID(str(value))


def _held(value: Any, stored: Any) -> bool:
    return abs(stored - timedelta(seconds=float(value))) < timedelta(seconds=1)


def _listed(value: Any, stored: Any) -> bool:
    return stored == list(value or [])


# What is stored otherwise than it is given: whether that is right.
OTHERWISE: dict[str, Callable[[Any, Any], bool]] = {
    "StreamRepository.create.name": _named,
    "StreamRepository.ensure.name": _named,
    "StreamRepository.get_or_create_for_experiment.name": _named,
    "StreamRepository.create.stream_id": _given_or_new,
    "StreamRepository.sync_wdk.strategies": lambda value, stored: (
        [item.position for item in stored] == list(range(len(value)))
    ),
    "ControlSetRepository.create.tags": _listed,
    "ControlSetRepository.upsert_seed.tags": _listed,
    "OperationRepository.register.operation_id": _given_or_new,
    "OperationRepository.start.operation_id": _given_or_new,
    "OperationRepository.start.lease_seconds": _held,
    "OperationRepository.acquire.lease_seconds": _held,
    "ExperimentRepository.save.version": lambda value, stored: stored == value + 1,
    "GeneSetRepository.save.version": lambda value, stored: stored == value + 1,
    "GeneSetRepository.save.parent_set_ids": lambda value, stored: stored == [str(UUID(str(item))) for item in value],
}
NOT_STORED = {
    "wdk_strategy_id_set", "is_saved_set", "result_count_set", "gene_set_id_set", "OperationRepository.acquire.types",
    "ExperimentRepository.patch_field.version",
}  # fmt: skip
# What an error calls a parameter that is a part of a document: by its place there.
CALLED = {"ExperimentRepository.patch_field.value": "data"}


async def new_world() -> SimpleNamespace:
    """A user with one of everything; `examples` are right values."""
    user = await UserRepository().create()
    stream = await StreamRepository().create(user.id, "plasmodb", experiment_id=uuid4())
    experiment, gene_set = _experiment_save(user.id), _gene_set_save(user.id)
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
    return {"save": _experiment_save(world.examples["user_id"])}


async def _new_gene_set_save(world: SimpleNamespace) -> dict[str, Any]:
    return {"save": _gene_set_save(world.examples["user_id"])}


async def _another_user(world: SimpleNamespace) -> dict[str, Any]:
    return {"user_id": (await UserRepository().create()).id}


# What a call uses up, made anew for each right value.
FRESH: dict[str, Fresh] = {
    "AccountRepository.purge": _another_user,
    "StreamRepository.ensure": _new_stream_id,
    "StreamRepository.get_or_create_for_experiment": _new_id,
    "OperationRepository.register": _another_stream,
    "OperationRepository.start": _another_stream,
    "OperationRepository.acquire": _waiting,
    **{
        f"OperationRepository.{method}": _new_lease
        for method in ("assert_lease", "cancel", "complete", "fail", "get_outcome", "heartbeat", "release")
    },
    "ExperimentRepository.save": _new_id,
    "ExperimentRepository.write": _new_experiment_save,
    "GeneSetRepository.write": _new_gene_set_save,
    "GeneSetRepository.save": _new_id,
    "GeneSetRepository.import_for_stream": _another_stream,
}
