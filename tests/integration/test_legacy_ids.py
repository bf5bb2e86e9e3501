"""Experiments and operations are found by the ids that the SQLAlchemy layer gave them, wherever an id is taken.

The calls are found by introspection: a new parameter that names an experiment or an operation fails here.
"""

import inspect
from uuid import UUID, uuid4

import pytest

from tests.support.cases import everything
from tests.support.public import repositories
from veupath_store.errors import InvalidInputError, NotFoundError, StoreError
from veupath_store.events.log.entries import Event, LogKey
from veupath_store.events.project.projector import Projector
from veupath_store.events.reader import LogReader
from veupath_store.inputs.legacy_ids import adopted_id
from veupath_store.repositories import (
    ExperimentRepository,
    GeneSetRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.values import ExperimentSave, GeneSetSave
from veupath_store.writer import DocumentWriter

pytestmark = pytest.mark.with_log

EXPERIMENT, OPERATION = "exp_0123456789ab", "op_0123456789ab"
RUN = {"site_id": "plasmodb", "name": "run", "status": "done", "data": {}}
NEAR_MISSES = (
    *("exp_0123456789a", "exp_0123456789abc", "exp_0123456789AB", "EXP_0123456789ab", "exp_0123456789ag"),
    *(" exp_0123456789ab", "exp_0123456789ab\n", "exp-0123456789ab", "exp_0123456789\u0661a", "exp_", ""),
)

EXPERIMENTS = {
    "get_by_id": lambda r, u, e: r.get_by_id(e),
    "delete": lambda r, u, e: r.delete(e),
    "save": lambda r, u, e: r.save(e, user_id=u, version=1, **RUN),
    "get_version": lambda r, u, e: r.get_version(e, user_id=u),
    "patch_field": lambda r, u, e: r.patch_field(e, "notes", 1),
    "get_many": lambda r, u, e: r.get_many([e], user_id=u),
}
STREAMS = {
    "create": lambda r, u, e: r.create(u, "plasmodb", experiment_id=e),
    "get_or_create_for_experiment": lambda r, u, e: r.get_or_create_for_experiment(u, "plasmodb", e),
    "find_by_experiment": lambda r, u, e: r.find_by_experiment(u, e),
}
OPERATIONS = {
    "get_by_id": lambda r, u, o: r.get_by_id(o),
    "delete": lambda r, u, o: r.delete(o),
    "get_summary": lambda r, u, o: r.get_summary(o),
    "get_status": lambda r, u, o: r.get_status(o),
    "request_cancel": lambda r, u, o: r.request_cancel(o),
    "register": lambda r, u, o: r.register(u, "batch", operation_id=o),
    "start": lambda r, u, o: r.start(u, "batch", operation_id=o, worker_id="w", lease_seconds=60),
}
LOGS = {
    "page_operation_events": lambda r, u, o: r.page_operation_events(o),
    "follow_operation": lambda r, u, o: r.follow_operation(o),
}
CALLS = [
    *((ExperimentRepository, name, call, EXPERIMENT) for name, call in EXPERIMENTS.items()),
    *((StreamRepository, name, call, EXPERIMENT) for name, call in STREAMS.items()),
    *((OperationRepository, name, call, OPERATION) for name, call in OPERATIONS.items()),
    *((LogReader, name, call, OPERATION) for name, call in LOGS.items()),
]
MAKES_WHAT_IT_NAMES = {"register", "start", "create", "get_or_create_for_experiment"}


def each(calls):
    names = ("repository", "method", "call", "old")
    return pytest.mark.parametrize(names, calls, ids=lambda it: getattr(it, "__name__", str(it))[:40])


EACH = each(CALLS)
UNDER_ITS_ID = {"experiment_id", "operation_id"}


def takers(kind):
    """The calls of a class that take an experiment's or an operation's id."""
    own = {"id", "ids"} if kind in {ExperimentRepository, OperationRepository} else set()
    return {
        name
        for name, function in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and (own | UNDER_ITS_ID) & inspect.signature(function).parameters.keys()
    }


@pytest.fixture
async def there(user):
    """An experiment, a conversation about it, and an operation, under the ids that stand for the old ones."""
    await ExperimentRepository().save(adopted_id(EXPERIMENT), user_id=user.id, **RUN)
    await StreamRepository().create(user.id, "plasmodb", experiment_id=adopted_id(EXPERIMENT))
    await OperationRepository().register(user.id, "batch", operation_id=adopted_id(OPERATION))
    return user.id


async def outcome(call):
    try:
        answer = await call
    except StoreError as exc:
        return type(exc), str(exc)
    return type(answer), len(answer) if isinstance(answer, list) else None, answer if answer is True else None


def test_every_call_that_takes_such_an_id_is_tried():
    tried = {}
    for kind, name, _, _ in CALLS:
        tried.setdefault(kind, set()).add(name)
    tried[LogReader] |= {"page_events", "follow"}  # of a conversation's events, one operation's: see below
    assert {kind: found for kind in (*repositories(), LogReader) if (found := takers(kind))} == tried
    assert takers(Projector) == {"append_to_operation"}


@EACH
async def test_the_old_id_is_the_id_that_stands_for_it(there, repository, method, call, old):
    if method in {"register", "start"}:
        await OperationRepository().delete(adopted_id(old))
    if method == "create":
        about = await StreamRepository().find_by_experiment(there, adopted_id(old))
        await StreamRepository().delete(about.id)
    served = await outcome(call(repository(), there, old))
    assert not issubclass(served[0], StoreError)
    assert served[0] is not type(None)
    if method in {"register", "start"}:
        assert (await OperationRepository().get_status(adopted_id(old))).id == adopted_id(old)
    if method == "create":
        assert await StreamRepository().find_by_experiment(there, adopted_id(old)) is not None
    if method == "delete":
        assert await repository().get_by_id(adopted_id(old)) is None


@each([one for one in CALLS if one[1] not in MAKES_WHAT_IT_NAMES])
async def test_a_foreign_users_old_id_looks_missing(there, repository, method, call, old):
    del method
    stranger = (await UserRepository().create()).id
    unknown = old[:-1] + "c"
    foreign = await outcome(call(repository().for_user(stranger), stranger, old))
    assert foreign == await outcome(call(repository().for_user(stranger), stranger, unknown))


@EACH
async def test_what_nearly_is_an_old_id_is_refused_by_name(there, repository, method, call, old):
    prefix = old.partition("_")[0]
    other = OPERATION if old == EXPERIMENT else EXPERIMENT
    for wrong in (other, *(miss.replace("exp", prefix).replace("EXP", prefix.upper()) for miss in NEAR_MISSES)):
        with pytest.raises(InvalidInputError, match=f"an old id as {old} is needed"):
            await call(repository(), there, wrong)


@pytest.mark.parametrize("old", [EXPERIMENT, OPERATION])
async def test_nothing_else_takes_an_old_id(there, old):
    calls = [
        lambda: UserRepository().get_by_id(old),
        lambda: StreamRepository().get_by_id(old),
        lambda: StreamRepository().delete(old),
        lambda: GeneSetRepository().get_by_id(old),
        lambda: OperationRepository().list_active_by_stream(old),
        lambda: LogReader().page_messages(old),
        lambda: Projector().catch_up(old),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match="a UUID, or its text, is needed"):
            await call()
    with pytest.raises(InvalidInputError):
        GeneSetSave(id=old, user_id=uuid4(), site_id="plasmodb", name="n", gene_ids=[])


async def test_a_save_in_the_background_takes_an_experiments_old_id(there):
    async with DocumentWriter() as writer:
        writer.put(ExperimentSave(id=EXPERIMENT, user_id=there, **{**RUN, "name": "later"}))
        await writer.flush()
        assert not writer.failures
        assert writer.discard(EXPERIMENT) is False
    assert (await ExperimentRepository().get_by_id(EXPERIMENT)).name == "later"


async def test_an_operations_old_log_is_read_under_its_old_name(there):
    projector, reader = Projector(), LogReader()
    [old] = await projector.append_to_operation(OPERATION, [Event(type="progress", data={"at": 1})])
    [new] = await projector.append_to_operation(adopted_id(OPERATION), [Event(type="progress", data={"at": 2})])
    prefix = projector.log._prefix
    assert LogKey.operation_given(OPERATION).text(prefix) == f"{prefix}op:{OPERATION}"
    assert [event.id for event in (await reader.page_operation_events(OPERATION)).items] == [old]
    assert [event.id for event in (await reader.page_operation_events(adopted_id(OPERATION))).items] == [new]
    await OperationRepository().request_cancel(OPERATION)
    assert [event.id for event in await everything(await reader.follow_operation(OPERATION))] == [old]
    with pytest.raises(NotFoundError):
        await reader.for_user(uuid4()).page_operation_events(OPERATION)


async def test_a_conversations_events_of_an_operation_are_found_by_its_old_id(user):
    stream = await StreamRepository().create(user.id, "plasmodb")
    await OperationRepository().register(user.id, "chat", stream_id=stream.id, operation_id=OPERATION)
    said = Event(type="user_message", data={"content": "x"}, operation_id=OPERATION)
    ids = await Projector().append(stream.id, [said])
    reader = LogReader()
    for given in (OPERATION, adopted_id(OPERATION), str(adopted_id(OPERATION))):
        assert [event.id for event in (await reader.page_events(stream.id, operation_id=given)).items] == ids
        page = await reader.page_operation_events(given)
        assert [(event.id, event.operation_id) for event in page.items] == [(ids[0], adopted_id(OPERATION))]
    assert isinstance((await OperationRepository().get_summary(OPERATION)).id, UUID)
