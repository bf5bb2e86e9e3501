"""A small world to call every repository method in: one owner with one of everything."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from tests.support.documents import new_control_set
from veupath_store.models import User
from veupath_store.repositories import (
    ExperimentRepository,
    GeneSetRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.repositories.accounts import OWNED_TABLES
from veupath_store.values import Lease, OperationType

RUN = {"name": "run", "status": "done", "data": {"x": 1}}
EXPERIMENT = {"site_id": "plasmodb", **RUN, "batch_id": "b", "benchmark_id": "m"}
GENE_SET = {"site_id": "plasmodb", "name": "genes", "gene_ids": ["g1", "g2"], "wdk_strategy_id": 7}


@dataclass(frozen=True)
class World:
    """The ids of the owner's things."""

    owner: UUID
    stream: UUID
    dismissed: UUID
    subject: UUID
    experiment: UUID
    control_set: UUID
    gene_set: UUID
    operation: UUID
    lease: Lease
    wdk: int = 7

    def unknown(self) -> "World":
        """The same world, with ids that nobody has."""
        strange = {field.name: uuid4() for field in fields(self) if field.type == "UUID" or field.type is UUID}
        lease = self.lease.model_copy(
            update={"operation_id": uuid4(), "user_id": strange["owner"], "token": uuid4(), "stream_id": None}
        )
        return replace(self, **strange, lease=lease, wdk=999_999)


def new_lease(**given: Any) -> Lease:
    """A lease that nobody has, but for what is given."""
    nobody = UUID(int=7)
    held = {"worker_id": "nobody", "token": nobody, "seconds": 60, "expires_at": datetime(2026, 1, 2, tzinfo=UTC)}
    about = {"operation_id": nobody, "user_id": nobody, "stream_id": None, "type": OperationType.BATCH}
    start = {"start_position": None, "attempts": 1, "max_attempts": 1, "deadline": 0.0}
    return Lease(**{**held, **about, **start, **given})


async def make_world(external_id: str | None = None) -> World:
    """An owner with one of everything."""
    owner = await UserRepository().create(external_id)
    streams = StreamRepository()
    subject, experiment, gene_set = uuid4(), uuid4(), uuid4()
    stream = await streams.create(owner.id, "plasmodb", name="one", experiment_id=subject)
    await ExperimentRepository().save(experiment, user_id=owner.id, **EXPERIMENT)
    await GeneSetRepository().save(gene_set, user_id=owner.id, **GENE_SET)
    await streams.update_projection(stream.id, wdk_strategy_id=7, plan={"root": {"id": "a", "searchName": "s"}})
    dismissed = await streams.create(owner.id, "plasmodb", name="two")
    await streams.dismiss(dismissed.id)
    genes = {"positive_ids": ["g1", "g2"], "negative_ids": ["g3"]}
    control_set = await new_control_set("set", **genes, tags=["t"], user_id=owner.id)
    operation = await OperationRepository().register(owner.id, OperationType.BATCH)
    lease = await OperationRepository().start(
        owner.id, OperationType.CHAT, stream_id=stream.id, worker_id="worker", lease_seconds=60
    )
    return World(
        owner=owner.id,
        stream=stream.id,
        dismissed=dismissed.id,
        subject=subject,
        experiment=experiment,
        control_set=control_set.id,
        gene_set=gene_set,
        operation=operation.id,
        lease=lease,
    )


async def contents() -> dict[str, list[Any]]:
    """Every row of every table that users own, to see that nothing changed."""
    found = {}
    # Not the ids of documents: a delete closes the id for the deleting user, whether it was anybody's or nobody's.
    owned_tables = [(owned.table, owned.key) for owned in OWNED_TABLES if owned.table != "document_ids"]
    for table, key in [("users", "id"), *owned_tables]:
        rows = await User._meta.db.execute_rows(f"SELECT to_jsonb(t)::text AS row FROM {table} t ORDER BY {key}")
        found[table] = [row["row"] for row in rows]
    return found
