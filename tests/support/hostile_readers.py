"""How what a method stored reads back. A new method needs an entry here; the tests fail without it."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from tests.support.hostile_kinds import tidied
from veupath_store.models import ControlSet, ExperimentRow, GeneSetRow, Operation, Stream, StreamProjection, User
from veupath_store.values.streams import DEFAULT_NAME

Reader = Callable[[dict[str, Any], Any], Awaitable[Any]]


def _made(model: Any, key: str) -> Reader:
    """Reads the row of the id that a method has returned, which is called `key` there."""

    async def read(arguments: dict[str, Any], result: Any) -> Any:
        row = await model.get(pk=result.id)
        return SimpleNamespace(**{**dict(row), key: row.pk})

    return read


def _named(model: Any, key: str) -> Reader:
    """Reads the row of the id that a method was given as `key`."""

    async def read(arguments: dict[str, Any], result: Any) -> Any:
        return await _made(model, key)(arguments, SimpleNamespace(id=arguments[key]))

    return read


async def _new_stream(arguments: dict[str, Any], result: Any) -> Any:
    stream, projection = await Stream.get(id=result.id), await StreamProjection.get(stream_id=result.id)
    return SimpleNamespace(**{**dict(stream), **dict(projection)})


async def _projection(arguments: dict[str, Any], result: Any) -> Any:
    return await StreamProjection.get(stream_id=arguments["stream_id"])


async def _synced(arguments: dict[str, Any], result: Any) -> Any:
    kept = result.strategies[0].stream_id if result.strategies else None
    stream = await Stream.get_or_none(pk=kept)
    return SimpleNamespace(
        strategies=result.strategies, user_id=stream and stream.user_id, site_id=stream and stream.site_id
    )


async def _operation(arguments: dict[str, Any], result: Any) -> Any:
    row = await Operation.get(id=getattr(result, "operation_id", None) or result.id)
    held = row.lease_expires_at - row.heartbeat_at if row.heartbeat_at else None
    return SimpleNamespace(**dict(row), operation_id=row.id, lease_seconds=held)


async def _failed(arguments: dict[str, Any], result: Any) -> Any:
    row = await Operation.get(id=arguments["lease"].operation_id)
    return SimpleNamespace(error=row.error, lease=arguments["lease"])


async def _patched(arguments: dict[str, Any], result: Any) -> Any:
    row, field = await ExperimentRow.get(pk=arguments["experiment_id"]), str.__str__(arguments["field"])
    known = field if field in row.data else None
    return SimpleNamespace(experiment_id=row.id, field=known, value=row.data[field])


async def _imported(arguments: dict[str, Any], result: Any) -> Any:
    link = await _projection(arguments, result)
    row = await GeneSetRow.get(pk=link.gene_set_id)
    return SimpleNamespace(**dict(row), stream_id=link.stream_id, automatic=link.gene_set_auto_imported)


# How to read back what a method stored; a parameter is found under its own name.
STORING: dict[str, Reader] = {
    "UserRepository.create": _made(User, "user_id"),
    "UserRepository.get_or_create": _made(User, "user_id"),
    "UserRepository.get_or_create_by_external_id": _made(User, "user_id"),
    "ControlSetRepository.create": _made(ControlSet, "id"),
    "ControlSetRepository.upsert_seed": _made(ControlSet, "id"),
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
    "ExperimentRepository.save": _named(ExperimentRow, "experiment_id"),
    "ExperimentRepository.patch_field": _patched,
    "GeneSetRepository.save": _named(GeneSetRow, "gene_set_id"),
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


def _numbered(value: Any, stored: Any) -> bool:
    """For a blank name there is the default; one that is taken has a number, and is cut for it."""
    wanted = tidied(value) or DEFAULT_NAME
    return stored == wanted or wanted.startswith(re.sub(r" \(\d+\)$", "", stored))


def _given_or_new(value: Any, stored: Any) -> bool:
    return value is None or stored == UUID(str(value))


def _held(value: Any, stored: Any) -> bool:
    return abs(stored - timedelta(seconds=float(value))) < timedelta(seconds=1)


def _given_or_there(value: Any, stored: Any) -> bool:
    return value is None or stored == value


def _listed(value: Any, stored: Any) -> bool:
    return stored == list(value or [])


# What is stored otherwise than it is given: whether that is right.
OTHERWISE: dict[str, Callable[[Any, Any], bool]] = {
    "UserRepository.get_or_create.external_id": _given_or_there,
    "StreamRepository.create.name": _numbered,
    "StreamRepository.ensure.name": _numbered,
    "StreamRepository.get_or_create_for_experiment.name": _numbered,
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
