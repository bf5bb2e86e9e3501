"""Rows for tests, made through the public repositories, so that they obey every rule that real ones obey."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID, uuid4

from veupath_store.models import ControlSet, ExperimentRow, GeneSetRow, Operation, Stream, StreamProjection, User
from veupath_store.repositories import (
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    LeaseRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.values import Lease, OperationStatus, OperationType
from veupath_store.values.operations import CHATS

T = TypeVar("T")
Owner: TypeAlias = User | UUID | str
Make: TypeAlias = Callable[..., Awaitable[T]]
"""What a fixture ``make_…`` is: ``make_user: Make[User]``."""

SITE: Final = "plasmodb"
"""The site of what is made, unless another is given."""

_CHROMOSOMES: Final = 14
_GENES: Final = 1_000
_ENDED: Final = {OperationStatus.COMPLETED: "complete", OperationStatus.CANCELLED: "cancel"}
_numbers: Final = itertools.count(1)


def gene_ids(count: int) -> list[str]:
    """Different gene ids, as ``PF3D7_1133400``."""
    return [f"PF3D7_{1 + n // _GENES % _CHROMOSOMES:02d}{n % _GENES:03d}00" for n in range(1, count + 1)]


class Factories:
    """One method for each entity. What is not given gets a value that is valid, and unique where it must be.

    An owner is a user or a user's id; a new user is made where none is given. Further keyword arguments are those of
    the repository's method: `create`, `save`, `register`, `update_projection`, or `start` for a lease. All is saved
    when a method returns. Each is one to three statements, or some more for what is changed after it was made.
    """

    async def user(self, external_id: str | None = None) -> User:
        """A user who has logged in by ``researcher1@example.org``, or another `external_id`."""
        return await UserRepository().create(external_id or f"researcher{next(_numbers)}@example.org")

    async def guest(self) -> User:
        """A user without a login."""
        return await UserRepository().create()

    async def _id(self, owner: Owner | None) -> UUID | str:
        user = await self.user() if owner is None else owner
        return user.id if isinstance(user, User) else user

    async def stream(
        self,
        user: Owner | None = None,
        site_id: str = SITE,
        *,
        name: str | None = None,
        stream_id: UUID | str | None = None,
        experiment_id: UUID | str | None = None,
        dismissed: bool = False,
        **projection: Any,  # noqa: ANN401 - those of update_projection
    ) -> Stream:
        """A conversation named ``Kinases 1``, its projection loaded.

        Args:
            projection: What `StreamRepository.update_projection` takes, as ``plan`` or ``wdk_strategy_id``.
        """
        streams = StreamRepository()
        wanted = f"Kinases {next(_numbers)}" if name is None else name
        stream = await streams.create(
            await self._id(user), site_id, stream_id=stream_id, name=wanted, experiment_id=experiment_id
        )
        if projection:
            await streams.update_projection(stream.id, **projection)
        if dismissed:
            await streams.dismiss(stream.id)
        if projection or dismissed:
            await stream.fetch_related("projection")
        return stream

    async def projection(self, user: Owner | None = None, site_id: str = SITE, **stream: Any) -> StreamProjection:  # noqa: ANN401
        """The projection of a new conversation, made as by `stream`; its ``stream`` is loaded."""
        made = await self.stream(user, site_id, **stream)
        return _there(await StreamRepository().get_projection(made.id))

    async def control_set(self, user: Owner | None = None, site_id: str = SITE, **given: Any) -> ControlSet:  # noqa: ANN401
        """A private control set of three genes that a search should find and two that it should not."""
        genes = gene_ids(5)
        defaults = {
            "name": f"Known kinases {next(_numbers)}",
            "record_type": "transcript",
            "positive_ids": genes[:3],
            "negative_ids": genes[3:],
        }
        owner = await self._id(user)
        return await ControlSetRepository().create(**{**defaults, **given}, site_id=site_id, user_id=owner)

    async def experiment(self, user: Owner | None = None, site_id: str = SITE, **given: Any) -> ExperimentRow:  # noqa: ANN401
        """An experiment that waits to be run, of version 1."""
        defaults = {
            "experiment_id": uuid4(),
            "name": f"Run {next(_numbers)}",
            "status": "pending",
            "data": {"searchName": "GenesByTaxon", "parameters": {"organism": ["Plasmodium falciparum 3D7"]}},
        }
        values = {**defaults, **given}
        await ExperimentRepository().save(**values, user_id=await self._id(user), site_id=site_id)
        return _there(await ExperimentRepository().get_by_id(values["experiment_id"]))

    async def gene_set(self, user: Owner | None = None, site_id: str = SITE, **given: Any) -> GeneSetRow:  # noqa: ANN401
        """A pasted gene set of three genes, of version 1."""
        defaults = {"gene_set_id": uuid4(), "name": f"Genes {next(_numbers)}", "gene_ids": gene_ids(3)}
        values = {**defaults, **given}
        await GeneSetRepository().save(**values, user_id=await self._id(user), site_id=site_id)
        return _there(await GeneSetRepository().get_by_id(values["gene_set_id"]))

    async def operation(
        self,
        user: Owner | None = None,
        type: OperationType | str = OperationType.EXPERIMENT,  # noqa: A002 - the column's name
        *,
        status: OperationStatus | str = OperationStatus.ACTIVE,
        error: str = "it was to fail",
        **given: Any,  # noqa: ANN401
    ) -> Operation:
        """An operation: by default one that waits for a worker.

        Args:
            type: What kind of job it is; a chat gets a new conversation unless `stream_id` is given.
            status: Another one: then a worker has ended it.
            error: Why it has failed, for the status ``failed``.
        """
        operations, wanted = OperationRepository(), OperationStatus(status)
        if wanted is OperationStatus.ACTIVE:
            owner, stream = await self._for_operation(user, type, given)
            made = (await operations.register(owner, type, **stream)).id
        else:
            lease = await self.lease(user, type, **given)
            made = lease.operation_id
            if wanted is OperationStatus.FAILED:
                await LeaseRepository().fail(lease, error)
            else:
                await getattr(LeaseRepository(), _ENDED[wanted])(lease)
        return _there(await operations.get_by_id(made))

    async def lease(
        self,
        user: Owner | None = None,
        type: OperationType | str = OperationType.EXPERIMENT,  # noqa: A002
        *,
        worker_id: str = "worker-1",
        lease_seconds: float = 30.0,
        **given: Any,  # noqa: ANN401
    ) -> Lease:
        """The lease of a new operation, of a type as in `operation`, that a worker runs."""
        owner, values = await self._for_operation(user, type, given)
        return await OperationRepository().start(
            owner, type, worker_id=worker_id, lease_seconds=lease_seconds, **values
        )

    async def _for_operation(
        self, user: Owner | None, kind: OperationType | str, given: dict[str, Any]
    ) -> tuple[UUID | str, dict[str, Any]]:
        owner = await self._id(user)
        if kind in CHATS and "stream_id" not in given:
            return owner, {**given, "stream_id": (await self.stream(owner)).id}
        return owner, given


def _there(row: T | None) -> T:
    if row is None:
        raise AssertionError("what was just saved is not there: another task deleted it")
    return row
