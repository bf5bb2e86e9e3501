"""One call of every public method of every repository, for the tests that go through all of them.

A method without a case fails tests/integration/test_every_method.py.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
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
CHANGED = {**EXPERIMENT, "data": {"y": 2}}
SEED = "a seed has no user"
STRATEGIES = [WdkStrategy(wdk_strategy_id=number, name="n") for number in range(1, 30)]


@dataclass(frozen=True)
class Case:
    """How to call one method.

    Attributes:
        arguments: Its positional and named arguments, with a world's ids.
        statements: How many statements it sends at the most when it succeeds.
        same_for_all: Why its answer does not depend on whose ids they are, or "" where it does.
        job_side: Which statements may do without ``user_id``, and why; "" for none.
        method: Its name.
    """

    arguments: Callable[[World], tuple[tuple[Any, ...], dict[str, Any]]]
    statements: int = 1
    same_for_all: str = ""
    job_side: str = ""
    method: str = ""

    async def call(self, repository: Any, world: World) -> Any:
        positional, named = self.arguments(world)
        answer = getattr(repository, self.method)(*positional, **named)
        return await everything(answer) if hasattr(answer, "__aiter__") else await answer


def given(*positional: Any, **named: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return positional, named


async def everything(items: AsyncIterator[Any]) -> list[Any]:
    """An asynchronous iterator's items, as a list."""
    return [item async for item in items]


def experiment_save(world: World) -> ExperimentSave:
    return ExperimentSave(id=world.experiment, user_id=world.owner, **EXPERIMENT)


def gene_set_save(world: World) -> GeneSetSave:
    return GeneSetSave(id=world.gene_set, user_id=world.owner, **GENE_SET)


USERS = {
    "get_by_id": Case(lambda w: given(w.owner)),
    "delete": Case(lambda w: given(w.owner), statements=2),
    "get_or_create": Case(lambda w: given(w.owner), same_for_all="an unknown user is made"),
    "get_or_create_by_external_id": Case(lambda w: given(f"{w.owner}@example.org"), statements=2),
    "get_system_user": Case(lambda w: given(), statements=2, same_for_all="a restricted repository is no system's"),
    "create": Case(lambda w: given(), same_for_all="a restricted repository makes no users"),
}
STREAMS = {
    "get_by_id": Case(lambda w: given(w.stream)),
    "delete": Case(lambda w: given(w.stream)),
    "create": Case(lambda w: given(w.owner, "plasmodb")),
    "get_system_stream": Case(lambda w: given(), statements=5, same_for_all="a restricted repository is no system's"),
    "ensure": Case(lambda w: given(w.owner, "plasmodb", w.stream)),
    "get_or_create_for_experiment": Case(lambda w: given(w.owner, "plasmodb", w.subject)),
    "find_by_experiment": Case(lambda w: given(w.owner, w.subject)),
    "get_projection": Case(lambda w: given(w.stream)),
    "get_by_wdk_strategy_id": Case(lambda w: given(w.owner, w.wdk)),
    "list_projections": Case(lambda w: given(w.owner)),
    "list_dismissed_projections": Case(lambda w: given(w.owner)),
    "page_projections": Case(lambda w: given(w.owner, "plasmodb")),
    "iterate_projections": Case(lambda w: given(w.owner)),
    "page_gene_set_imports": Case(lambda w: given(w.owner, "plasmodb")),
    "update_projection": Case(lambda w: given(w.stream, name="new", wdk_strategy_id=8)),
    "patch_projection": Case(lambda w: given(w.stream, ProjectionPatch(result_count=3))),
    "dismiss": Case(lambda w: given(w.stream)),
    "restore": Case(lambda w: given(w.dismissed)),
    "claim_wdk_strategy": Case(lambda w: given(w.stream, 9)),
    "sync_wdk": Case(lambda w: given(w.owner, "plasmodb", STRATEGIES), statements=2),
    "prune_wdk_orphans": Case(lambda w: given(w.owner, "plasmodb", range(8, 2000))),
    "dismiss_wdk_orphans": Case(lambda w: given(w.owner, "plasmodb", [1], max_share=1)),
}
CONTROL_SETS = {
    "get_by_id": Case(lambda w: given(w.control_set)),
    "delete": Case(lambda w: given(w.control_set)),
    "list_by_site": Case(lambda w: given("plasmodb", w.owner, ["t"])),
    "page_by_site": Case(lambda w: given("plasmodb", w.owner)),
    "page_containing": Case(lambda w: given("plasmodb", ["g1"], w.owner)),
    "create": Case(lambda w: given(name="n", site_id="plasmodb", user_id=w.owner, **GENES)),
    "update": Case(lambda w: given(w.control_set, ControlSetPatch(name="n"))),
    "upsert_seed": Case(lambda w: given(name="seed", site_id="plasmodb", **GENES), same_for_all=SEED, job_side=SEED),
}
ACCOUNTS = {
    "get_by_id": Case(lambda w: given(w.owner)),
    "purge": Case(lambda w: given(w.owner), statements=4),
    "export": Case(lambda w: given(w.owner), statements=17),
}
OPERATIONS = {
    "get_by_id": Case(lambda w: given(w.operation)),
    "delete": Case(lambda w: given(w.operation)),
    "get_summary": Case(lambda w: given(w.operation)),
    "get_status": Case(lambda w: given(w.operation)),
    "register": Case(lambda w: given(w.owner, "experiment", stream_id=w.dismissed)),
    "start": Case(lambda w: given(w.owner, "batch", stream_id=w.dismissed, worker_id="w", lease_seconds=60)),
    "request_cancel": Case(lambda w: given(w.operation)),
    "page": Case(lambda w: given(w.owner)),
    "page_active": Case(lambda w: given(w.owner, type="chat")),
    "list_active_by_stream": Case(lambda w: given(w.stream)),
}
LEASES = {
    "claim": Case(lambda w: given("w", ["batch"], lease_seconds=60)),
    "sweep": Case(lambda w: given()),
    "heartbeat": Case(lambda w: given(w.lease)),
    "complete": Case(lambda w: given(w.lease)),
    "fail": Case(lambda w: given(w.lease, "error")),
    "cancel": Case(lambda w: given(w.lease)),
    "release": Case(lambda w: given(w.lease)),
    "get_outcome": Case(lambda w: given(w.lease)),
    "assert_lease": Case(lambda w: given(w.lease)),
}
EXPERIMENTS = {
    "get_by_id": Case(lambda w: given(w.experiment)),
    "delete": Case(lambda w: given(w.experiment), statements=2),
    "save": Case(lambda w: given(w.experiment, user_id=w.owner, version=1, **CHANGED), statements=2),
    "write": Case(lambda w: given(experiment_save(w), version=1), statements=2),
    "is_written": Case(lambda w: given(experiment_save(w), version=1)),
    "get_version": Case(lambda w: given(w.experiment, user_id=w.owner)),
    "patch_field": Case(lambda w: given(w.experiment, "notes", "new"), statements=2),
    "get_many": Case(lambda w: given([w.experiment], user_id=w.owner)),
    "iterate": Case(lambda w: given(w.owner)),
    "page_summaries": Case(lambda w: given(w.owner, "plasmodb")),
    "iterate_summaries": Case(lambda w: given(w.owner)),
    "page_by_batch": Case(lambda w: given(w.owner, "b")),
    "page_by_benchmark": Case(lambda w: given(w.owner, "m")),
}
GENE_SETS = {
    "get_by_id": Case(lambda w: given(w.gene_set)),
    "delete": Case(lambda w: given(w.gene_set), statements=2),
    "save": Case(lambda w: given(w.gene_set, user_id=w.owner, version=1, **GENE_SET), statements=2),
    "write": Case(lambda w: given(gene_set_save(w), version=1), statements=2),
    "is_written": Case(lambda w: given(gene_set_save(w), version=1)),
    "get_version": Case(lambda w: given(w.gene_set, user_id=w.owner)),
    "get_many": Case(lambda w: given([w.gene_set], user_id=w.owner)),
    "iterate": Case(lambda w: given(w.owner)),
    "import_for_stream": Case(lambda w: given(w.stream, name="n", gene_ids=["g"]), statements=2),
    "page_summaries": Case(lambda w: given(w.owner, "plasmodb")),
    "iterate_summaries": Case(lambda w: given(w.owner)),
    "find_by_wdk_strategy": Case(lambda w: given(w.owner, w.wdk)),
    "page_containing": Case(lambda w: given(w.owner, ["g1"])),
}
CASES: dict[type, dict[str, Case]] = {
    repository: {method: replace(case, method=method) for method, case in cases.items()}
    for repository, cases in (
        (UserRepository, USERS),
        (StreamRepository, STREAMS),
        (ControlSetRepository, CONTROL_SETS),
        (AccountRepository, ACCOUNTS),
        (OperationRepository, OPERATIONS),
        (LeaseRepository, LEASES),
        (ExperimentRepository, EXPERIMENTS),
        (GeneSetRepository, GENE_SETS),
    )
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
