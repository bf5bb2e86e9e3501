"""How what a method stored reads back. A new method needs an entry here; the tests fail without it."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from tests.support.hostile import tidied
from veupath_store.models import Operation
from veupath_store.repositories import (
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.values.streams import DEFAULT_NAME

Reader = Callable[[dict[str, Any], Any], Awaitable[Any]]


async def _user(arguments: dict[str, Any], result: Any) -> Any:
    return await UserRepository().get_by_id(result.id)


async def _known_user(arguments: dict[str, Any], result: Any) -> Any:
    user = await _user(arguments, result)
    login = user.external_id if arguments.get("external_id") is not None else None  # one that is there stays
    return SimpleNamespace(user_id=user.id, external_id=login)


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
    "LeaseRepository.claim": _operation,
    "LeaseRepository.fail": _failed,
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
    "heartbeat", "is_written", "iterate", "iterate_projections",
    "iterate_summaries", "list_active_by_stream", "list_by_site", "list_dismissed_projections", "list_projections",
    "page", "page_active", "page_by_batch", "page_by_benchmark", "page_by_site", "page_containing",
    "page_gene_set_imports", "page_projections", "page_summaries", "patch_projection", "prune_wdk_orphans", "purge",
    "release", "request_cancel", "restore", "sweep", "update", "write",
}  # fmt: skip


def _named(value: Any, stored: Any) -> bool:
    """For a blank name there is the default; one that is taken has a number, and is cut for it."""
    wanted = tidied(value) or DEFAULT_NAME
    return stored == wanted or wanted.startswith(re.sub(r" \(\d+\)$", "", stored))


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
    "LeaseRepository.claim.lease_seconds": _held,
    "ExperimentRepository.save.version": lambda value, stored: stored == value + 1,
    "GeneSetRepository.save.version": lambda value, stored: stored == value + 1,
    "GeneSetRepository.save.parent_set_ids": lambda value, stored: stored == [str(UUID(str(item))) for item in value],
}
NOT_STORED = {
    "expected",
    "wdk_strategy_id_set", "is_saved_set", "result_count_set", "gene_set_id_set", "LeaseRepository.claim.types",
    "ExperimentRepository.patch_field.version",
}  # fmt: skip
# What an error calls a parameter that is a part of a document: by its place there.
CALLED = {"ExperimentRepository.patch_field.value": "data"}
