"""The recorder of statements: what it counts, and what a failure shows."""

import asyncio
import logging

import pytest

from tests.support.servers import until
from veupath_store import StreamRepository, UserRepository, async_session_factory, close_db, init_db
from veupath_store.events.log.entries import LogKey
from veupath_store.events.log.log import required_log

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
