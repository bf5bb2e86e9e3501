"""Trimming a log, and what a later rebuild then means."""

import asyncio
from datetime import timedelta

import pytest

from tests.support.conversations import conversation, said, texts_of
from veupath_store.errors import InvalidInputError, NotFoundError
from veupath_store.events.project.projector import Projector
from veupath_store.repositories import StreamRepository
from veupath_store.values import RebuildOutcome, VerifyOutcome

pytestmark = pytest.mark.with_log


@pytest.fixture
async def stream(user):
    stream = await conversation(user)
    await Projector().append(stream, said(*(f"m{number}" for number in range(20))))
    await StreamRepository().update_projection(stream, wdk_strategy_id=7, plan={"root": {"id": "a"}})
    await StreamRepository().dismiss(stream)
    await Projector().catch_up(stream)
    return stream


async def row(watcher):
    return await watcher.fetchval("SELECT to_jsonb(p) - 'last_event_id' FROM stream_projections p")


async def test_a_trimmed_log_begins_with_what_the_row_held(stream, watcher, logs):
    before = await row(watcher)
    assert await Projector().trim(stream, keep=5) == 17
    assert len(logs.entries(stream)) == 6, "five, and the whole row"
    assert await row(watcher) == before, "the recent order does not shuffle"
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: 1}
    await watcher.execute("DELETE FROM stream_projections")
    assert (await Projector().rebuild()).counts == {RebuildOutcome.REBUILT: 1}
    assert await row(watcher) == before
    assert await texts_of(stream) == ["m16", "m17", "m18", "m19"]


@pytest.mark.unlike_log
async def test_what_the_store_has_not_trimmed_brings_back_a_row_that_is_gone_only_by_force(stream, watcher, logs):
    """Somebody else has removed the beginning: the log cannot say any more what the row held."""
    logs.redis.xtrim(logs.key(stream), maxlen=5, approximate=False)
    await watcher.execute("DELETE FROM stream_projections")
    assert (await Projector().rebuild()).counts == {RebuildOutcome.INCOMPLETE: 1}
    assert await watcher.fetchval("SELECT count(*) FROM stream_projections") == 0
    assert len(logs.entries(stream)) == 5
    assert (await Projector().rebuild(force=True)).counts == {RebuildOutcome.REBUILT: 1}
    row = await watcher.fetchrow("SELECT name, message_count, wdk_strategy_id FROM stream_projections")
    assert tuple(row) == ("New Conversation", 4, 7)
    assert len(logs.entries(stream)) == 5, "and the log is as it was"


@pytest.mark.unlike_log
async def test_a_row_that_is_gone_with_its_log_stays_gone(stream, watcher, logs):
    logs.redis.delete(logs.key(stream))
    await watcher.execute("DELETE FROM stream_projections")
    for force in (False, True):
        assert (await Projector().rebuild(force=force)).counts == {RebuildOutcome.EMPTY: 1}
    assert await watcher.fetchval("SELECT count(*) FROM stream_projections") == 0


async def test_a_trim_that_a_row_of_a_restore_has_not_seen_loses_nothing(stream, watcher):
    """The row is set back to before the trim, and the log begins after that."""
    before = await row(watcher)
    earlier = await watcher.fetchval("SELECT last_event_id FROM stream_projections")
    await Projector().append(stream, said("late"))
    await Projector().trim(stream, keep=1)
    await Projector().trim(stream, keep=1)
    after = await row(watcher)
    await watcher.execute(
        "UPDATE stream_projections p SET (last_event_id, message_count) = ($1, ($2::jsonb->>'message_count')::int)",
        earlier,
        before,
    )
    await Projector().catch_up(stream)
    assert await row(watcher) == after
    assert not (await Projector().lag()).lagging, "nothing is lost"
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: 1}


async def test_what_the_row_has_not_seen_is_never_trimmed(stream, watcher):
    await Projector().append(stream, said("late") * 3)
    assert await Projector().trim(stream, keep=1) > 0
    assert await watcher.fetchval("SELECT message_count FROM stream_projections") == 23
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: 1}


async def test_trimming_by_age_removes_only_what_is_older(stream, logs):
    assert await Projector().trim(stream, older_than=timedelta(hours=1)) == 0
    assert len(logs.entries(stream)) == 22, "nothing to trim: no whole row either"
    await asyncio.sleep(0.05)
    await Projector().append(stream, said("new"))
    assert await Projector().trim(stream, older_than=timedelta(milliseconds=25)) == 22
    assert await texts_of(stream) == ["new"]
    assert await Projector().trim(stream, older_than=timedelta.max) == 0


async def test_both_bounds_hold(stream):
    await asyncio.sleep(0.05)
    assert await Projector().trim(stream, keep=1_000, older_than=timedelta(milliseconds=1)) == 0
    assert await Projector().trim(stream, keep=10, older_than=timedelta(milliseconds=1)) == 12


async def test_trimming_while_others_append_loses_nothing(stream, watcher):
    async def append():
        for _ in range(40):
            await Projector().append(stream, said("x"))

    async def trim():
        for _ in range(20):
            await Projector().trim(stream, keep=3)

    await asyncio.gather(append(), trim(), append())
    await Projector().catch_up(stream)
    assert await watcher.fetchval("SELECT message_count FROM stream_projections") == 100
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: 1}


@pytest.mark.parametrize(
    ("arguments", "path"), [({}, "keep"), ({"keep": 0}, "keep"), ({"older_than": 5}, "older_than")]
)
async def test_bad_arguments_are_refused_by_name(stream, arguments, path):
    with pytest.raises(InvalidInputError) as caught:
        await Projector().trim(stream, **arguments)
    assert caught.value.path == path


async def test_nobodys_log_is_not_trimmed(user):
    with pytest.raises(NotFoundError):
        await Projector().trim(user.id, keep=1)
