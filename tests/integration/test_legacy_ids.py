"""Experiments and operations are found by the ids that the SQLAlchemy layer gave them, wherever an id is taken.

The calls are found by introspection, and made as `tests.support.cases` makes them.
"""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.support.cases import everything, methods
from tests.support.hostile_matrix import arguments_of, call, parameters_of
from tests.support.public import public_methods, repositories
from tests.support.world import make_world
from veupath_store.errors import InvalidInputError, NotFoundError, StoreError
from veupath_store.events.log.entries import Event, LogKey
from veupath_store.events.project.projector import Projector
from veupath_store.events.reader import LogReader
from veupath_store.inputs.legacy_ids import adopted_id
from veupath_store.repositories import ExperimentRepository, OperationRepository, StreamRepository
from veupath_store.values import ExperimentSave, GeneSetSave
from veupath_store.writer import DocumentWriter

pytestmark = pytest.mark.with_log

EXPERIMENT, OPERATION = "exp_0123456789ab", "op_0123456789ab"
RUN = {"site_id": "plasmodb", "name": "run", "status": "done", "data": {}}
NEAR_MISSES = (
    *("exp_0123456789a", "exp_0123456789abc", "exp_0123456789AB", "EXP_0123456789ab", "exp_0123456789ag"),
    *(" exp_0123456789ab", "exp_0123456789ab\n", "exp-0123456789ab", "exp_0123456789\u0661a", "exp_", ""),
)

OF_OLD_IDS = {ExperimentRepository, OperationRepository}
MAKES_WHAT_IT_NAMES = {"register", "start", "create", "get_or_create_for_experiment"}


def takers(kind, methods):
    """The methods that take an experiment's or an operation's id, by which parameter, and an old one."""
    own = {"id", "ids"} if kind in OF_OLD_IDS else set()
    for method in methods:
        for parameter in parameters_of(kind, method).keys() & (own | {"experiment_id", "operation_id"}):
            is_experiment = kind is ExperimentRepository or parameter == "experiment_id"
            yield kind, method, parameter, EXPERIMENT if is_experiment else OPERATION


OF_LOGS = ("page_operation_events", "follow_operation")
CALLS = [one for kind in repositories() for one in takers(kind, methods(kind))] + [*takers(LogReader, OF_LOGS)]


def each(calls):
    names = ("kind", "method", "parameter", "old")
    return pytest.mark.parametrize(names, calls, ids=lambda it: getattr(it, "__name__", str(it)))


EACH = each(CALLS)


@pytest.fixture
async def there(user):
    """A world in which an experiment, a conversation about it, and an operation stand under the ids for old ones."""
    world = await make_world()
    experiment, operation = adopted_id(EXPERIMENT), adopted_id(OPERATION)
    await ExperimentRepository().save(experiment, user_id=world.owner, **RUN)
    await StreamRepository().create(world.owner, "plasmodb", experiment_id=experiment)
    await OperationRepository().register(world.owner, "batch", operation_id=operation)
    return replace(world, experiment=experiment, subject=experiment, operation=operation)


async def outcome(world, repository, method, parameter, given):
    """What a caller can see of a call with this id."""
    kind = type(repository)
    arguments = {} if kind is LogReader else arguments_of(world, kind, method)
    try:
        answer = await call(getattr(repository, method), {**arguments, parameter: given})
    except StoreError as exc:
        return type(exc), str(exc)
    return type(answer), len(answer) if isinstance(answer, list) else None, answer if answer is True else None


def test_every_call_that_takes_such_an_id_is_tried():
    assert {kind.__name__ for kind, *_ in CALLS} == {
        *("ExperimentRepository", "OperationRepository", "StreamRepository", "LogReader")
    }
    # Of a conversation's events, one operation's: see below.
    assert {name for _, name, *_ in takers(LogReader, public_methods(LogReader))} == {*OF_LOGS, "page_events", "follow"}
    assert {name for _, name, *_ in takers(Projector, public_methods(Projector))} == {"append_to_operation"}


def of(parameter, identity):
    return [identity] if parameter == "ids" else identity


@EACH
async def test_the_old_id_is_the_id_that_stands_for_it(there, kind, method, parameter, old):
    if method in {"register", "start"}:
        await OperationRepository().delete(adopted_id(old))
    if method == "create":
        about = await StreamRepository().find_by_experiment(there.owner, adopted_id(old))
        await StreamRepository().delete(about.id)
    served = await outcome(there, kind(), method, parameter, of(parameter, old))
    assert not issubclass(served[0], StoreError)
    assert served[0] is not type(None)
    if method in {"register", "start"}:
        assert (await OperationRepository().get_status(adopted_id(old))).id == adopted_id(old)
    if method == "create":
        assert await StreamRepository().find_by_experiment(there.owner, adopted_id(old)) is not None
    if method == "delete":
        assert await kind().get_by_id(adopted_id(old)) is None


@each([one for one in CALLS if one[1] not in MAKES_WHAT_IT_NAMES])
async def test_a_foreign_users_old_id_looks_missing(there, stranger, kind, method, parameter, old):
    world, theirs = replace(there, owner=stranger.id), kind().for_user(stranger.id)
    foreign, unknown = [
        await outcome(world, theirs, method, parameter, of(parameter, one)) for one in (old, old[:-1] + "c")
    ]
    assert foreign == unknown


@EACH
async def test_what_nearly_is_an_old_id_is_refused_by_name(there, kind, method, parameter, old):
    prefix = old.partition("_")[0]
    other = OPERATION if old == EXPERIMENT else EXPERIMENT
    for wrong in (other, *(miss.replace("exp", prefix).replace("EXP", prefix.upper()) for miss in NEAR_MISSES)):
        error, said = await outcome(there, kind(), method, parameter, of(parameter, wrong))
        assert error is InvalidInputError
        assert f"an old id as {old} is needed" in said


@pytest.mark.parametrize("old", [EXPERIMENT, OPERATION])
async def test_nothing_else_takes_an_old_id(there, old):
    others = [kind for kind in repositories() if hasattr(kind, "get_by_id") and kind not in OF_OLD_IDS]
    assert len(others) == 5
    streams, operations = StreamRepository(), OperationRepository()
    calls = [*(kind().get_by_id for kind in others), streams.delete, operations.list_active_by_stream]
    for call_with in (*calls, LogReader().page_messages, Projector().catch_up):
        with pytest.raises(InvalidInputError, match="a UUID, or its text, is needed"):
            await call_with(old)
    with pytest.raises(InvalidInputError):
        GeneSetSave(id=old, user_id=uuid4(), site_id="plasmodb", name="n", gene_ids=[])


async def test_a_save_in_the_background_takes_an_experiments_old_id(there):
    async with DocumentWriter() as writer:
        writer.put(ExperimentSave(id=EXPERIMENT, user_id=there.owner, **{**RUN, "name": "later"}))
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
