"""The factories and the recorder of the pytest plugin."""

import asyncio
import inspect
import logging
from typing import get_type_hints
from uuid import uuid4

import pytest

from tests.support.servers import until
from veupath_store import (
    LeaseRepository,
    ProjectionWorker,
    Projector,
    StreamRepository,
    UserRepository,
    async_session_factory,
    close_db,
    init_db,
    models,
)
from veupath_store.events.log.entries import LogKey
from veupath_store.events.log.log import required_log
from veupath_store.integrations.pytest_plugin import fixtures
from veupath_store.integrations.testing import Factories
from veupath_store.integrations.testing.factories import gene_ids
from veupath_store.models import Operation, Stream, StreamProjection
from veupath_store.values import Lease, OperationStatus, OperationType

METHODS = sorted(name for name, _ in inspect.getmembers(Factories, inspect.isfunction) if not name.startswith("_"))


def made_by(method):
    return get_type_hints(getattr(Factories, method))["return"]


def test_every_entity_has_a_factory():
    assert {made_by(method) for method in METHODS} == {getattr(models, name) for name in models.__all__} | {Lease}


def test_every_factory_is_a_fixture():
    assert {name for name in vars(fixtures) if name.startswith("make_")} == {f"make_{method}" for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
async def test_what_a_factory_makes_is_saved_and_can_be_made_again(request, store, method):
    make = request.getfixturevalue(f"make_{method}")
    for made in [await make() for _ in range(3)]:
        assert isinstance(made, made_by(method))
        if not isinstance(made, Lease):
            assert await type(made).get_or_none(**{type(made)._meta.pk_attr: made.pk})


@pytest.mark.with_log
async def test_what_is_made_with_a_log_is_in_it(make_projection, store_factories):
    for method in METHODS:
        await getattr(store_factories, method)()
    projection = await make_projection(record_type="transcript", dismissed=True)
    await ProjectionWorker().drain()
    lag = await Projector().lag(stream_id=projection.stream_id)
    assert lag.counts == {"current": 1}
    assert not (await Projector().verify()).suspects
    assert projection.dismissed_at is not None


async def test_what_is_given_wins(make_user, make_stream, make_control_set, make_experiment, make_gene_set):
    user = await make_user("ann@example.org")
    assert user.external_id == "ann@example.org"
    identity = uuid4()
    stream = await make_stream(user, "toxodb", name="Mine", stream_id=identity, wdk_strategy_id=7, plan={"root": {}})
    assert (stream.id, stream.user_id, stream.site_id) == (identity, user.id, "toxodb")
    assert (stream.projection.name, stream.projection.wdk_strategy_id) == ("Mine", 7)
    assert stream.projection.plan == {"root": {}}
    controls = await make_control_set(user.id, tags=["kinase"], is_public=True)
    assert (controls.user_id, controls.tags, controls.is_public) == (user.id, ["kinase"], True)
    experiment = await make_experiment(str(user.id), experiment_id=identity, status="running", data={"n": 1})
    assert (experiment.id, experiment.status, experiment.data) == (identity, "running", {"n": 1})
    genes = await make_gene_set(user, gene_ids=["PF3D7_1133400"], source="upload")
    assert (genes.gene_ids, genes.source) == (["PF3D7_1133400"], "upload")


@pytest.mark.parametrize("method", [name for name in METHODS if name != "guest"])
async def test_an_argument_that_nobody_knows_is_an_error(store_factories, method):
    with pytest.raises(TypeError):
        await getattr(store_factories, method)(colour="blue")


async def test_conversations_of_one_user_have_different_names(make_user, make_stream):
    user = await make_user()
    names = [(await make_stream(user)).projection.name for _ in range(3)]
    assert len(set(names)) == 3
    assert [len(await StreamRepository().list_projections(user.id)), await Stream.all().count()] == [3, 3]
    assert await StreamProjection.all().count() == 3


@pytest.mark.parametrize("status", OperationStatus)
async def test_an_operation_has_the_status_that_is_asked_for(make_operation, status):
    operation = await make_operation(status=status)
    assert operation.status == status
    assert (operation.completed_at is None) == (status is OperationStatus.ACTIVE)
    assert (operation.error is None) == (status is not OperationStatus.FAILED)


@pytest.mark.parametrize("kind", OperationType)
async def test_an_operation_of_every_type_can_be_made_and_a_chat_has_its_conversation(make_lease, kind):
    lease = await make_lease(type=kind, worker_id="host:7", lease_seconds=5)
    assert (await Operation.get(id=lease.operation_id)).worker_id == "host:7"
    assert (lease.stream_id is not None) == kind.is_chat
    await LeaseRepository().heartbeat(lease)


def test_gene_ids_look_like_gene_ids_and_differ():
    found = gene_ids(5_000)
    assert len(set(found)) == 5_000
    assert all(len(it) == len("PF3D7_1133400") and it.startswith("PF3D7_") and it.endswith("00") for it in found)


# The recorder of statements: what it counts, and what a failure shows.


SECRET = "ann@example.org"


async def test_statements_are_counted_and_listed_in_order(store, store_statements):
    with store_statements() as sent:
        await UserRepository().create(SECRET)
        async with async_session_factory() as session:
            await UserRepository(session).create()
    assert len(sent) == 2
    assert all("INSERT" in text for text in sent)
    assert sent.statements == sent[:] == [sent[0], sent[1]]


async def test_only_what_is_sent_inside_the_block_is_recorded_whichever_task_sends_it(store, store_statements):
    await UserRepository().create()
    with store_statements() as outer:
        with store_statements() as inner:
            await asyncio.gather(*(UserRepository().create() for _ in range(3)))
        await UserRepository().create()
    await UserRepository().create()
    assert (len(inner), len(outer)) == (3, 4)


@pytest.mark.with_log
async def test_what_brings_the_log_up_to_date_in_the_background_is_not_recorded(settings, user, store_statements):
    await close_db()
    await init_db(settings=settings.model_copy(update={"catch_up": True}))
    with store_statements(exactly=1):
        stream = await StreamRepository().create(user.id, "plasmodb")

        async def logged():
            return (await required_log().ends([LogKey.stream(stream.id)]))[0] is not None

        await until(logged, 10, "it is logged")


async def test_a_failure_lists_the_statements_and_shows_no_value(store, store_statements):
    with pytest.raises(AssertionError) as failed, store_statements(exactly=1):
        await UserRepository().get_or_create_by_external_id(SECRET)
        await UserRepository().get_or_create_by_external_id(SECRET)
    lines = str(failed.value).splitlines()
    assert lines[0] == f"{len(lines) - 1} statements were sent, and 1 were expected:"
    assert lines[1].startswith("1. ")
    assert "$1" in lines[1]
    assert SECRET not in str(failed.value)


async def test_at_most_so_many_may_be_expected_and_later_as_well(store, store_statements):
    with store_statements(at_most=2) as sent:
        await UserRepository().create()
    sent.expect(exactly=1)
    sent.expect(at_most=1)
    with pytest.raises(AssertionError, match="1 statements were sent, and at most 0 were expected"):
        sent.expect(at_most=0)
    with pytest.raises(AssertionError, match="and 2 were expected"):
        sent.expect(exactly=2)


async def test_an_error_of_the_block_is_not_hidden_by_the_number(store, store_statements):
    with pytest.raises(ZeroDivisionError), store_statements(exactly=5):
        raise ZeroDivisionError


async def test_long_statements_are_cut(store, store_statements):
    with store_statements() as sent:
        await (await store.open()).execute_rows("SELECT " + " + ".join(["1"] * 1_000))
    with pytest.raises(AssertionError) as failed:
        sent.expect(exactly=0)
    assert len(str(failed.value)) < 500


async def test_logging_is_as_before(store, store_statements):
    logger = logging.getLogger("veupath_store.engine")
    before = logger.level, list(logger.handlers)
    with store_statements():
        assert logger.isEnabledFor(logging.DEBUG)
    assert (logger.level, logger.handlers) == before
