"""One call of every public method of every repository, for the tests that go through all of them.

A method without a case fails tests/integration/test_every_method.py.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.support.public import owned_repositories, public_methods
from tests.support.world import EXPERIMENT, GENE_SET, World
from veupath_store.repositories import (
    AccountRepository,
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    LeaseRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.values import ControlSetPatch, ExperimentSave, GeneSetSave, ProjectionPatch, WdkStrategy

GENES = {"record_type": "transcript", "positive_ids": ["a"], "negative_ids": []}


@dataclass(frozen=True)
class Case:
    """How to call one method.

    Attributes:
        call: Calls it with a world's ids.
        statements: How many statements it sends at the most when it succeeds.
        same_for_all: Why its answer does not depend on whose ids they are, or "" where it does.
        job_side: Which statements may do without ``user_id``, and why; "" for none.
    """

    call: Callable[[Any, World], Awaitable[Any]]
    statements: int = 1
    same_for_all: str = ""
    job_side: str = ""


async def everything(items: AsyncIterator[Any]) -> list[Any]:
    """An asynchronous iterator's items, as a list."""
    return [item async for item in items]


USERS = {
    "get_by_id": Case(lambda r, w: r.get_by_id(w.owner)),
    "delete": Case(lambda r, w: r.delete(w.owner), statements=2),
    "get_or_create": Case(lambda r, w: r.get_or_create(w.owner), same_for_all="an unknown user is made"),
    "get_or_create_by_external_id": Case(
        lambda r, w: r.get_or_create_by_external_id(f"{w.owner}@example.org"), statements=2
    ),
    "get_system_user": Case(
        lambda r, w: r.get_system_user(), statements=2, same_for_all="a restricted repository is no system's"
    ),
    "create": Case(lambda r, w: r.create(), same_for_all="a restricted repository makes no users"),
}
STREAMS = {
    "get_by_id": Case(lambda r, w: r.get_by_id(w.stream)),
    "delete": Case(lambda r, w: r.delete(w.stream)),
    "create": Case(lambda r, w: r.create(w.owner, "plasmodb")),
    "get_system_stream": Case(
        lambda r, w: r.get_system_stream(), statements=5, same_for_all="a restricted repository is no system's"
    ),
    "ensure": Case(lambda r, w: r.ensure(w.owner, "plasmodb", w.stream)),
    "get_or_create_for_experiment": Case(lambda r, w: r.get_or_create_for_experiment(w.owner, "plasmodb", w.subject)),
    "find_by_experiment": Case(lambda r, w: r.find_by_experiment(w.owner, w.subject)),
    "get_projection": Case(lambda r, w: r.get_projection(w.stream)),
    "get_by_wdk_strategy_id": Case(lambda r, w: r.get_by_wdk_strategy_id(w.owner, w.wdk)),
    "list_projections": Case(lambda r, w: r.list_projections(w.owner)),
    "list_dismissed_projections": Case(lambda r, w: r.list_dismissed_projections(w.owner)),
    "page_projections": Case(lambda r, w: r.page_projections(w.owner, "plasmodb")),
    "iterate_projections": Case(lambda r, w: everything(r.iterate_projections(w.owner))),
    "page_gene_set_imports": Case(lambda r, w: r.page_gene_set_imports(w.owner, "plasmodb")),
    "update_projection": Case(lambda r, w: r.update_projection(w.stream, name="new", wdk_strategy_id=8)),
    "patch_projection": Case(lambda r, w: r.patch_projection(w.stream, ProjectionPatch(result_count=3))),
    "dismiss": Case(lambda r, w: r.dismiss(w.stream)),
    "restore": Case(lambda r, w: r.restore(w.dismissed)),
    "claim_wdk_strategy": Case(lambda r, w: r.claim_wdk_strategy(w.stream, 9)),
    "sync_wdk": Case(
        lambda r, w: r.sync_wdk(
            w.owner, "plasmodb", [WdkStrategy(wdk_strategy_id=number, name="n") for number in range(1, 30)]
        ),
        statements=2,
    ),
    "prune_wdk_orphans": Case(lambda r, w: r.prune_wdk_orphans(w.owner, "plasmodb", range(8, 2000))),
    "dismiss_wdk_orphans": Case(lambda r, w: r.dismiss_wdk_orphans(w.owner, "plasmodb", [1], max_share=1)),
}
CONTROL_SETS = {
    "get_by_id": Case(lambda r, w: r.get_by_id(w.control_set)),
    "delete": Case(lambda r, w: r.delete(w.control_set)),
    "list_by_site": Case(lambda r, w: r.list_by_site("plasmodb", w.owner, ["t"])),
    "page_by_site": Case(lambda r, w: r.page_by_site("plasmodb", w.owner)),
    "page_containing": Case(lambda r, w: r.page_containing("plasmodb", ["g1"], w.owner)),
    "create": Case(lambda r, w: r.create(name="n", site_id="plasmodb", user_id=w.owner, **GENES)),
    "update": Case(lambda r, w: r.update(w.control_set, ControlSetPatch(name="n"))),
    "upsert_seed": Case(
        lambda r, w: r.upsert_seed(name="seed", site_id="plasmodb", **GENES),
        same_for_all="seeds are nobody's",
        job_side="a seed has no user",
    ),
}
ACCOUNTS = {
    "get_by_id": Case(lambda r, w: r.get_by_id(w.owner)),
    "purge": Case(lambda r, w: r.purge(w.owner), statements=4),
    "export": Case(lambda r, w: everything(r.export(w.owner)), statements=17),
}
OPERATIONS = {
    "get_by_id": Case(lambda r, w: r.get_by_id(w.operation)),
    "delete": Case(lambda r, w: r.delete(w.operation)),
    "get_summary": Case(lambda r, w: r.get_summary(w.operation)),
    "get_status": Case(lambda r, w: r.get_status(w.operation)),
    "register": Case(lambda r, w: r.register(w.owner, "experiment", stream_id=w.dismissed)),
    "start": Case(lambda r, w: r.start(w.owner, "batch", stream_id=w.dismissed, worker_id="w", lease_seconds=60)),
    "request_cancel": Case(lambda r, w: r.request_cancel(w.operation)),
    "page": Case(lambda r, w: r.page(w.owner)),
    "page_active": Case(lambda r, w: r.page_active(w.owner, type="chat")),
    "list_active_by_stream": Case(lambda r, w: r.list_active_by_stream(w.stream)),
}
LEASES = {
    "claim": Case(lambda r, w: r.claim("w", ["batch"], lease_seconds=60)),
    "sweep": Case(lambda r, w: r.sweep()),
    "heartbeat": Case(lambda r, w: r.heartbeat(w.lease)),
    "complete": Case(lambda r, w: r.complete(w.lease)),
    "fail": Case(lambda r, w: r.fail(w.lease, "error")),
    "cancel": Case(lambda r, w: r.cancel(w.lease)),
    "release": Case(lambda r, w: r.release(w.lease)),
    "get_outcome": Case(lambda r, w: r.get_outcome(w.lease)),
    "assert_lease": Case(lambda r, w: r.assert_lease(w.lease)),
}
EXPERIMENTS = {
    "get_by_id": Case(lambda r, w: r.get_by_id(w.experiment)),
    "delete": Case(lambda r, w: r.delete(w.experiment), statements=2),
    "save": Case(
        lambda r, w: r.save(w.experiment, user_id=w.owner, version=1, **{**EXPERIMENT, "data": {"y": 2}}), statements=2
    ),
    "write": Case(
        lambda r, w: r.write(ExperimentSave(id=w.experiment, user_id=w.owner, **EXPERIMENT), version=1), statements=2
    ),
    "is_written": Case(
        lambda r, w: r.is_written(ExperimentSave(id=w.experiment, user_id=w.owner, **EXPERIMENT), version=1)
    ),
    "get_version": Case(lambda r, w: r.get_version(w.experiment, user_id=w.owner)),
    "patch_field": Case(lambda r, w: r.patch_field(w.experiment, "notes", "new"), statements=2),
    "get_many": Case(lambda r, w: r.get_many([w.experiment], user_id=w.owner)),
    "iterate": Case(lambda r, w: everything(r.iterate(w.owner))),
    "page_summaries": Case(lambda r, w: r.page_summaries(w.owner, "plasmodb")),
    "iterate_summaries": Case(lambda r, w: everything(r.iterate_summaries(w.owner))),
    "page_by_batch": Case(lambda r, w: r.page_by_batch(w.owner, "b")),
    "page_by_benchmark": Case(lambda r, w: r.page_by_benchmark(w.owner, "m")),
}
GENE_SETS = {
    "get_by_id": Case(lambda r, w: r.get_by_id(w.gene_set)),
    "delete": Case(lambda r, w: r.delete(w.gene_set), statements=2),
    "save": Case(lambda r, w: r.save(w.gene_set, user_id=w.owner, version=1, **GENE_SET), statements=2),
    "write": Case(
        lambda r, w: r.write(GeneSetSave(id=w.gene_set, user_id=w.owner, **GENE_SET), version=1), statements=2
    ),
    "is_written": Case(lambda r, w: r.is_written(GeneSetSave(id=w.gene_set, user_id=w.owner, **GENE_SET), version=1)),
    "get_version": Case(lambda r, w: r.get_version(w.gene_set, user_id=w.owner)),
    "get_many": Case(lambda r, w: r.get_many([w.gene_set], user_id=w.owner)),
    "iterate": Case(lambda r, w: everything(r.iterate(w.owner))),
    "import_for_stream": Case(lambda r, w: r.import_for_stream(w.stream, name="n", gene_ids=["g"]), statements=2),
    "page_summaries": Case(lambda r, w: r.page_summaries(w.owner, "plasmodb")),
    "iterate_summaries": Case(lambda r, w: everything(r.iterate_summaries(w.owner))),
    "find_by_wdk_strategy": Case(lambda r, w: r.find_by_wdk_strategy(w.owner, w.wdk)),
    "page_containing": Case(lambda r, w: r.page_containing(w.owner, ["g1"])),
}
CASES: dict[type, dict[str, Case]] = {
    UserRepository: USERS,
    StreamRepository: STREAMS,
    ControlSetRepository: CONTROL_SETS,
    AccountRepository: ACCOUNTS,
    OperationRepository: OPERATIONS,
    LeaseRepository: LEASES,
    ExperimentRepository: EXPERIMENTS,
    GeneSetRepository: GENE_SETS,
}


def methods(repository: type) -> list[str]:
    """The public calls of a repository, by introspection."""
    return [name for name in public_methods(repository) if name != "for_user"]


def all_cases() -> list[Any]:
    """(repository, method, case) of every case."""
    return [(repository, name, case) for repository, cases in CASES.items() for name, case in cases.items()]


def owned_cases() -> list[Any]:
    """Those of the repositories that are restricted to a user."""
    return [each for each in all_cases() if each[0] in owned_repositories()]
