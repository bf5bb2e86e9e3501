"""Races for one row: catch-ups with each other, with appends, with repositories' writes; and for names and WDK ids."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

import asyncpg
import pytest

from tests.support.conversations import assert_sound as sound
from tests.support.conversations import conversation, link, named
from tests.support.projections import DELTA, MESSAGE, at_rest, columns_of, rows_of, unlogged_of
from veupath_store import GeneSetRepository, StreamRepository, async_session_factory
from veupath_store.errors import UnavailableError
from veupath_store.events.log.entries import Event
from veupath_store.events.project.commit import commit
from veupath_store.values import RebuildOutcome, VerifyOutcome

T = TypeVar("T")

SEED = 20_261_125

pytestmark = pytest.mark.with_log(pool_max_size=20)


@pytest.fixture
def new(user, projector):
    async def new(name: str = "one") -> UUID:
        """A conversation whose log has begun."""
        stream_id = await conversation(user, name)
        await projector.catch_up(stream_id)
        return stream_id

    return new


@pytest.fixture
def assert_sound(watcher, logs):
    return partial(sound, watcher, logs)


@pytest.fixture
def column(watcher):
    """What some rows hold in a column, in their order."""

    async def column(name: str, *streams: UUID) -> list:
        return [(await columns_of(watcher, stream_id))[name] for stream_id in streams]

    return column


async def insisting(write: Callable[[], Awaitable[T]]) -> T:
    """A write as callers do it: once more where it lost a race for locks, which says that nothing was saved."""
    while True:
        try:
            return await write()
        except UnavailableError as exc:
            if not isinstance(exc.__cause__, asyncpg.DeadlockDetectedError | asyncpg.LockNotAvailableError):
                raise


async def test_eight_that_catch_up_one_conversation_count_every_message_once(projector, new, column, assert_sound):
    stream_id, going = await new(), True
    folded = 0

    async def append() -> None:
        nonlocal going
        for number in range(300):
            await projector.append(stream_id, [MESSAGE, DELTA] if number % 3 else [DELTA, MESSAGE, MESSAGE])
        going = False

    async def catch_up() -> None:
        nonlocal folded
        last = False
        while not last:
            last = not going
            done = await projector.catch_up(stream_id)
            folded += done.events

    await asyncio.gather(append(), *(catch_up() for _ in range(8)))
    assert folded == 200 * 2 + 100 * 3
    assert await column("message_count", stream_id) == [400]
    await assert_sound()


async def test_a_claim_that_is_one_only_once_the_row_is_locked_is_settled(
    new, projector, column, assert_sound, monkeypatch
):
    """The entry says what the row holds when it is read, and takes it back from who has it when it is locked."""
    one, other = await new("one"), await new("other")
    await projector.append(one, [link(7)])
    await projector.catch_up(one)
    await projector.append(one, [link(7)])

    async def claimed_meanwhile(parts):
        monkeypatch.undo()
        await StreamRepository().claim_wdk_strategy(other, wdk_strategy_id=7)
        return await commit(parts)

    monkeypatch.setattr("veupath_store.events.project.catch_up.commit", claimed_meanwhile)
    await projector.catch_up(one)
    assert await column("wdk_strategy_id", one, other) == [7, None]
    await assert_sound()


async def test_writes_that_race_with_events_for_the_same_fields_leave_row_and_log_equal(
    projector, new, watcher, assert_sound
):
    streams, dice = [await new(f"stream {n}") for n in range(4)], random.Random(SEED)
    repository = StreamRepository()

    async def write() -> None:
        for _ in range(60):
            call = dice.choice(
                (
                    partial(repository.update_projection, name=f"name {dice.randrange(5)}"),
                    partial(repository.update_projection, record_type="written", is_saved=True),
                    partial(repository.update_projection, plan={"root": {"id": "w", "searchName": "s"}}),
                    partial(repository.claim_wdk_strategy, wdk_strategy_id=dice.randrange(3), is_saved=True),
                    repository.dismiss,
                    repository.restore,
                )
            )
            await insisting(partial(call, dice.choice(streams)))

    async def happen() -> None:
        for _ in range(120):
            events = [
                named(f"name {dice.randrange(5)}"),
                link(dice.randrange(3), saved=dice.random() < 0.5),
                Event(type="graph_plan", data={"plan": {"root": {"id": "e"}}, "recordType": "of an event"}),
                Event(type="graph_cleared", data={}),
                MESSAGE,
            ]
            await projector.append(dice.choice(streams), dice.sample(events, dice.randint(1, 3)))

    async def catch_up() -> None:
        for _ in range(60):
            await projector.catch_up(dice.choice(streams))

    await asyncio.gather(*(call() for call in (write, happen, catch_up) for _ in range(2)))
    await assert_sound()
    claimed = await watcher.fetch("SELECT wdk_strategy_id FROM stream_projections WHERE wdk_strategy_id IS NOT NULL")
    assert len({row["wdk_strategy_id"] for row in claimed}) == len(claimed)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_claims_by_events_the_one_that_is_caught_up_last_holds(
    order, projector, new, watcher, column, logs, assert_sound
):
    streams = [await new("earlier"), await new("later")]
    for stream_id in streams:
        await projector.append(stream_id, [link(7, saved=True)])
    for index in order:
        await projector.catch_up(streams[index])
    loser, winner = (streams[index] for index in order)

    async def assert_settled() -> None:
        assert await column("wdk_strategy_id", loser, winner) == [None, 7]
        assert await column("is_saved", loser, winner) == [False, True]

    await assert_settled()
    assert await unlogged_of(watcher, loser) == {"wdk_strategy_id", "is_saved"}, "it was decided, and is to be logged"
    await assert_sound()
    await assert_settled()
    assert json.loads(logs.entries(loser)[-1].raw)["wdkStrategyId"] is None
    assert logs.types(winner) == ["projection_patched", "strategy_link"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_logs_that_claim_the_same_the_one_that_is_rebuilt_last_holds(
    order, projector, new, watcher, column, logs, assert_sound
):
    """As an application before this store wrote it: the claim is in both logs, the loss in neither."""
    streams = [await new("earlier"), await new("later")]
    for stream_id in streams:
        await projector.append(stream_id, [link(7, saved=True)])
    await watcher.execute("DELETE FROM stream_projections")
    loser, winner = (streams[index] for index in order)
    for stream_id in (loser, winner):
        assert (await projector.rebuild(stream_id=stream_id)).counts == {RebuildOutcome.REBUILT: 1}
    await assert_sound()
    assert await column("wdk_strategy_id", loser, winner) == [None, 7]
    assert json.loads(logs.entries(loser)[-1].raw)["wdkStrategyId"] is None, "now it is in the log"


async def test_a_claim_that_was_given_up_long_after_takes_nothing_from_who_has_it_now(
    projector, new, watcher, column, logs, assert_sound
):
    """Between the claim and the loss are pages of a log, and it is read anew: no page of it is settled alone."""
    old, holder = await new("old"), await new("holder")
    await projector.append(old, [link(7), named("Kinases"), *[MESSAGE, DELTA] * 200])
    await projector.catch_up(old)
    await projector.append(holder, [link(7), *[MESSAGE, DELTA] * 200])
    await projector.catch_up(holder)
    await StreamRepository().update_projection(old, name="renamed")
    await StreamRepository().update_projection(holder, name="Kinases")
    await at_rest()
    lengths = [len(logs.entries(stream_id)) for stream_id in (old, holder)]
    await assert_sound()
    assert [len(logs.entries(stream_id)) for stream_id in (old, holder)] == lengths, "nothing was decided anew"
    await watcher.execute("UPDATE stream_projections SET last_event_id = NULL")
    await projector.catch_up(old)
    assert await column("wdk_strategy_id", holder) == [7]
    await assert_sound()
    assert [len(logs.entries(stream_id)) for stream_id in (old, holder)] == lengths


async def test_a_claim_by_a_repository_and_a_later_one_by_an_event_end_with_the_event(
    projector, new, column, assert_sound
):
    first, second = await new("first"), await new("second")
    await StreamRepository().claim_wdk_strategy(first, 7, is_saved=True)
    await projector.append(second, [link(7)])
    assert await StreamRepository().claim_wdk_strategy(first, 8) is None
    await projector.catch_up(second)
    await projector.catch_up(first)
    await projector.append(first, [link(7)])
    await StreamRepository().dismiss(second)
    await projector.catch_up(first)
    assert await column("wdk_strategy_id", first, second) == [7, None]
    await assert_sound()


async def test_what_a_caller_asked_for_and_is_not_in_the_log_yet_stays_whatever_events_say(
    projector, new, watcher, assert_sound
):
    stream_id = await new()
    await projector.append(stream_id, [named("before"), link(7)])
    await StreamRepository().update_projection(stream_id, name="wished")
    await StreamRepository().claim_wdk_strategy(stream_id, 8)
    await projector.append(stream_id, [named("after"), link(9, saved=True), MESSAGE])
    await assert_sound()
    columns = await columns_of(watcher, stream_id)
    assert (columns["name"], columns["wdk_strategy_id"], columns["message_count"]) == ("wished", 8, 1)
    await projector.append(stream_id, [named("later"), link(9)])
    await assert_sound()
    columns = await columns_of(watcher, stream_id)
    assert (columns["name"], columns["wdk_strategy_id"]) == ("later", 9)


async def test_claims_that_cross_come_to_an_end(projector, new, column, assert_sound):
    """A wants what B has and B what A has, all at once, by events and by repositories' writes, fifty times."""
    a, b = await new("a"), await new("b")
    async with asyncio.timeout(30):
        for round_ in range(25):
            await projector.append(a, [link(round_ % 2)])
            await projector.append(b, [link(1 - round_ % 2)])
            await asyncio.gather(*(projector.catch_up(stream_id) for stream_id in (a, b, b, a)))
            await asyncio.gather(
                projector.catch_up(a),
                insisting(partial(StreamRepository().claim_wdk_strategy, a, 1 - round_ % 2)),
                insisting(partial(StreamRepository().claim_wdk_strategy, b, round_ % 2)),
            )
    await assert_sound()
    assert await column("wdk_strategy_id", a, b) == [1, 0]


async def test_a_ring_of_claims_comes_to_an_end(projector, new, column, assert_sound):
    """Twelve conversations, each of which wants what the next one has, caught up at once by two workers each."""
    streams = [await new(f"stream {n}") for n in range(12)]
    for number, stream_id in enumerate(streams):
        await projector.append(stream_id, [link(number)])
        await projector.catch_up(stream_id)
    for number, stream_id in enumerate(streams):
        await projector.append(stream_id, [link((number + 1) % 12)])
    async with asyncio.timeout(30):
        await asyncio.gather(*(insisting(partial(projector.catch_up, stream_id)) for stream_id in streams * 2))
    await assert_sound()
    assert await column("wdk_strategy_id", *streams) == [(number + 1) % 12 for number in range(12)]


@pytest.mark.parametrize("at_once", [False, True])
async def test_twenty_conversations_of_one_name_get_twenty_and_keep_them(
    at_once, projector, new, column, logs, assert_sound
):
    streams = [await new(f"stream {n}") for n in range(20)]
    for stream_id in streams:
        await projector.append(stream_id, [named("Kinases"), MESSAGE])
    if at_once:
        await asyncio.gather(*map(projector.catch_up, streams))
    else:
        for stream_id in streams:
            await projector.catch_up(stream_id)
    names = await column("name", *streams)
    assert set(names) == {"Kinases", *(f"Kinases ({number})" for number in range(1, 20))}
    await assert_sound()
    assert await column("name", *streams) == names
    # One that had to take another name says so in its log, so that a rebuild in any order gives the same.
    assert sum(len(logs.entries(stream_id)) for stream_id in streams) == 20 * 3 + 19


async def test_a_rename_races_with_names_of_events(projector, new, column, assert_sound):
    streams = [await new(f"stream {n}") for n in range(10)]

    async def rename(stream_id: UUID) -> None:
        await insisting(partial(StreamRepository().update_projection, stream_id, name="Kinases"))

    async def event(stream_id: UUID) -> None:
        await projector.append(stream_id, [named("Kinases")])
        await projector.catch_up(stream_id)

    await asyncio.gather(*(call(stream_id) for stream_id in streams for call in (rename, event)))
    assert len(set(await column("name", *streams))) == 10
    await assert_sound()


async def test_a_link_to_a_gene_set_that_is_deleted_is_null_and_stays_so(user, projector, new, watcher, column):
    stream_id, gone_early, gene_sets = await new(), await new("early"), GeneSetRepository()
    ids = [UUID(int=n) for n in range(2)]
    for gene_set_id in ids:
        await gene_sets.save(gene_set_id, user_id=user.id, site_id="plasmodb", name="genes", gene_ids=["g"])
    await StreamRepository().update_projection(stream_id, gene_set_id=ids[0], gene_set_auto_imported=True)
    await projector.append(gone_early, [Event(type="projection_patched", data={"geneSetId": str(ids[1])})])
    for gene_set_id in ids:
        await gene_sets.delete(gene_set_id)
    await projector.catch_up(gone_early)
    assert await column("gene_set_id", stream_id, gone_early) == [None, None]
    await at_rest()
    rows = await rows_of(watcher)
    assert (await projector.verify()).counts == {VerifyOutcome.EQUAL: 2}
    for removed in ("false", "true"):
        await watcher.execute(f"DELETE FROM stream_projections WHERE {removed}")
        assert (await projector.rebuild()).counts == {RebuildOutcome.REBUILT: 2}
        assert await rows_of(watcher) == rows
    assert await column("gene_set_auto_imported", stream_id) == [True]


async def test_two_units_that_lock_in_opposite_orders_both_end(new, assert_sound):
    """One of them may be told to try again; neither leaves an event of what it could not save."""
    a, b = await new("a"), await new("b")

    async def unit(*streams: UUID) -> None:
        async with async_session_factory() as session:
            for stream_id in streams:
                await StreamRepository(session).update_projection(stream_id, result_count=1)
                await asyncio.sleep(0.01)

    results = await asyncio.gather(unit(a, b), unit(b, a), return_exceptions=True)
    assert results.count(None) >= 1
    await assert_sound()


async def test_a_rebuild_of_everything_races_with_all_of_it(projector, new, column, assert_sound):
    streams, dice = [await new(f"stream {n}") for n in range(6)], random.Random(SEED)

    async def happen() -> None:
        for number in range(90):
            stream_id = dice.choice(streams)
            await projector.append(stream_id, [MESSAGE, link(dice.randrange(4)), named(f"name {dice.randrange(4)}")])
            if number % 3 == 0:
                await projector.catch_up(stream_id)
            if number % 3 == 1:
                await insisting(partial(StreamRepository().update_projection, stream_id, record_type=f"type {number}"))

    happening = asyncio.create_task(happen())

    async def look() -> None:
        while not happening.done():
            rebuilt, verified = await asyncio.gather(projector.rebuild(), projector.verify())
            assert {one.outcome for one in rebuilt.refused} <= {RebuildOutcome.BUSY}, "it moved meanwhile"
            assert verified.suspects == ()

    await asyncio.gather(happening, look())
    await assert_sound()
    assert sum(await column("message_count", *streams)) == 90
