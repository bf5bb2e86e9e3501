"""Orders of events in which a unit of work, or a catch-up, could lose what others appended meanwhile."""

import asyncio
import contextlib
from uuid import uuid4

import pytest

from tests.support.redis_servers import client
from veupath_store import StoreSettings, StreamRepository, UserRepository, async_session_factory, close_db, init_db
from veupath_store.errors import ConflictError, NotFoundError, StoreError, UnavailableError
from veupath_store.events import worker
from veupath_store.events.entries import Event
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog
from veupath_store.events.projector import Projector
from veupath_store.values import VerifyOutcome

SITE = "plasmodb"

pytestmark = pytest.mark.with_log


@pytest.fixture
def meanwhile(monkeypatch):
    """Appends to a log right before something is next appended to it by a settlement: one race, lost on purpose."""
    real = EventLog.exchange

    def race(stream_id, *events):
        waiting = [events]

        async def exchange(log, parts):
            asked = any(part.key.id == stream_id and part.appended for part in parts)
            if asked and waiting:
                await log.append(LogKey.stream(stream_id), waiting.pop())
            return await real(log, parts)

        monkeypatch.setattr(EventLog, "exchange", exchange)
        return waiting

    return race


def named(name):
    return Event(type="strategy_meta", data={"name": name})


def linked(wdk_strategy_id, **more):
    return Event(type="strategy_link", data={"wdkStrategyId": wdk_strategy_id, **more})


async def made(owner, name=""):
    return (await StreamRepository().create(owner.id, SITE, name=name)).id


async def row(stream_id):
    return await StreamRepository().get_projection(stream_id)


async def linked_to(*stream_ids):
    return [(await row(stream_id)).wdk_strategy_id for stream_id in stream_ids]


async def append(stream_id, *events):
    """In a millisecond of its own, so that claims in different logs have an order."""
    await asyncio.sleep(0.003)
    await Projector().append(stream_id, events)


async def proven():
    """Every row is what its log says, and stays it when the logs are folded to their ends and the rows made anew."""
    projector = Projector()
    for lag in (await projector.lag()).lagging:
        await projector.catch_up(lag.stream_id)
    report = await projector.verify()
    assert set(report.counts) == {VerifyOutcome.EQUAL}, report.suspects
    assert not (await projector.rebuild()).refused
    assert set((await projector.verify()).counts) == {VerifyOutcome.EQUAL}


async def test_a_rename_that_comes_while_a_taken_name_is_numbered_is_not_lost(user, meanwhile):
    await made(user, "Draft")
    second = await made(user)
    await append(second, named("Draft"))
    waiting = meanwhile(second, named("Final"))
    await Projector().catch_up(second)
    assert not waiting
    assert (await row(second)).name == "Final"
    await proven()


async def test_a_rename_to_another_taken_name_meanwhile_is_numbered_too(user, meanwhile):
    await made(user, "Draft")
    await made(user, "Final")
    third = await made(user)
    await append(third, named("Draft"))
    meanwhile(third, named("Final"))
    await Projector().catch_up(third)
    assert (await row(third)).name == "Final (1)"
    await proven()


async def test_a_link_that_comes_while_an_older_claim_is_given_up_is_not_lost(user, meanwhile):
    first, second = await made(user), await made(user)
    await append(second, linked(5))
    await append(first, linked(5))
    await Projector().catch_up(first)
    waiting = meanwhile(second, linked(6, isSaved=True))
    await Projector().catch_up(second)
    assert not waiting
    assert await linked_to(first, second) == [5, 6]
    assert (await row(second)).is_saved
    await proven()


async def test_a_claim_that_is_made_again_while_an_older_one_is_given_up_wins(user, meanwhile):
    first, second = await made(user), await made(user)
    await append(second, linked(5))
    await append(first, linked(5))
    await Projector().catch_up(first)
    await asyncio.sleep(0.003)
    meanwhile(second, linked(5))
    await Projector().catch_up(second)
    assert await linked_to(first, second) == [None, 5]
    await proven()


async def test_a_link_that_is_not_folded_yet_outlives_that_an_older_one_is_handed_over_by_an_event(user):
    first, second = await made(user), await made(user)
    await StreamRepository().claim_wdk_strategy(first, 5)
    await append(first, linked(6))
    await append(second, linked(5))
    await Projector().catch_up(second)
    await Projector().catch_up(first)
    assert await linked_to(first, second) == [6, 5]
    await proven()


async def test_a_link_that_is_not_folded_yet_outlives_that_an_older_one_is_handed_over_by_a_repository(user):
    first, second = await made(user), await made(user)
    await StreamRepository().claim_wdk_strategy(first, 5, is_saved=True)
    await append(first, linked(6))
    await StreamRepository().claim_wdk_strategy(second, 5)
    await Projector().catch_up(first)
    assert await linked_to(first, second) == [6, 5]
    await proven()


async def test_a_claim_that_is_not_folded_yet_gives_way_to_a_repositorys_later_one(user):
    first, second = await made(user), await made(user)
    await StreamRepository().claim_wdk_strategy(first, 5)
    await append(first, linked(5))
    await StreamRepository().claim_wdk_strategy(second, 5)
    await Projector().catch_up(first)
    assert await linked_to(first, second) == [None, 5]
    await proven()


async def test_what_a_unit_of_work_says_last_of_one_conversation_holds(user):
    first, second = await made(user), await made(user)
    await append(first, linked(6), named("Theirs"))
    async with async_session_factory() as session:
        repository = StreamRepository(session)
        await repository.claim_wdk_strategy(first, 5)
        await repository.claim_wdk_strategy(second, 5)
        await repository.update_projection(first, name="Mine")
    assert await linked_to(first, second) == [None, 5]
    assert (await row(first)).name == "Mine"
    await proven()


@pytest.fixture
async def old(database_url, settings):
    """Two conversations from before there was a log, the first with a WDK strategy."""
    await init_db(settings=StoreSettings(database_url=database_url))
    owner = await UserRepository().create()
    first, second = await made(owner, "First"), await made(owner, "Second")
    await StreamRepository().claim_wdk_strategy(first, 5, is_saved=True)
    await close_db()
    await init_db(settings=settings)
    yield first, second
    await close_db()


def add_raw(redis_url, prefix, stream_id, kind, data):
    with client(redis_url) as connection:
        connection.xadd(LogKey.stream(stream_id).text(prefix), {"op": "", "type": kind, "data": data})


async def test_a_repositorys_write_holds_against_what_an_old_log_said_before_it(old, redis_url, log_prefix):
    add_raw(redis_url, log_prefix, old[0], "strategy_meta", '{"name": "Theirs", "recordType": "theirs"}')
    await StreamRepository().update_projection(old[0], name="Mine", record_type="mine", plan={"a": 1})
    found = await row(old[0])
    assert (found.name, found.record_type, found.plan) == ("Mine", "mine", {"a": 1})
    await StreamRepository().update_projection(old[1], name="Second still")
    await proven()


async def test_a_repositorys_write_holds_against_what_a_log_without_its_end_said_before_it(user, redis_url, log_prefix):
    stream_id = await made(user)
    await StreamRepository().update_projection(stream_id, record_type="before")
    with client(redis_url) as connection:
        connection.delete(LogKey.stream(stream_id).text(log_prefix))
    add_raw(redis_url, log_prefix, stream_id, "strategy_meta", '{"name": "Theirs", "recordType": "theirs"}')
    await StreamRepository().update_projection(stream_id, record_type="mine", plan={"a": 1})
    found = await row(stream_id)
    assert (found.name, found.record_type, found.plan) == ("Theirs", "mine", {"a": 1})
    await proven()


async def test_an_event_takes_the_wdk_strategy_of_a_row_that_has_no_log(old):
    first, second = old
    await append(second, linked(5))
    await Projector().catch_up(second)
    assert await linked_to(first, second) == [None, 5]
    await proven()


async def test_that_a_log_begins_makes_no_claim_of_a_wdk_strategy_younger(old):
    first, second = old
    await append(second, linked(5))
    await append(first, Event(type="assistant_delta", data={}))
    await Projector().catch_up(second)
    await Projector().catch_up(first)
    assert await linked_to(first, second) == [None, 5]
    await proven()


async def test_a_plan_that_its_caller_changes_later_is_in_the_log_as_it_was_stored(user):
    stream_id = await made(user)
    async with async_session_factory() as session:
        plan = {"root": {"id": "a", "searchName": "S", "parameters": {"k": [1]}}}
        await StreamRepository(session).update_projection(stream_id, plan=plan)
        plan["root"]["parameters"]["k"].append(2)
    assert (await row(stream_id)).plan["root"]["parameters"] == {"k": [1]}
    await proven()


async def test_a_commit_half_way_that_redis_refused_cannot_be_followed_by_one_without_its_events(user, monkeypatch):
    stream_id = await made(user)
    real = EventLog.exchange

    async def refuse(log, parts):
        monkeypatch.setattr(EventLog, "exchange", real)
        raise UnavailableError("Redis does not answer.")

    with contextlib.suppress(StoreError):
        async with async_session_factory() as session:
            await StreamRepository(session).update_projection(stream_id, name="Changed")
            monkeypatch.setattr(EventLog, "exchange", refuse)
            with contextlib.suppress(UnavailableError):
                await session.commit()
    await proven()


async def test_a_log_begins_also_while_a_producer_never_pauses(old, monkeypatch):
    await StreamRepository().update_projection(old[1], record_type="of before")
    key, log, real, rounds = LogKey.stream(old[1]), Projector().log, EventLog.exchange, []
    await log.remove([key])
    await log.append(key, [named("Theirs")], new=True)

    async def busy(log, parts):
        if any(part.appended for part in parts):
            rounds.append(1)
            assert len(rounds) < 20
            await log.append(key, [Event(type="assistant_delta", data={})])
        return await real(log, parts)

    monkeypatch.setattr(EventLog, "exchange", busy)
    await Projector().catch_up(old[1])
    monkeypatch.setattr(EventLog, "exchange", real)
    found = await row(old[1])
    assert (found.name, found.record_type) == ("Theirs", "of before")
    await StreamRepository().update_projection(old[0], record_type="begun")
    await proven()


async def test_conversations_that_cannot_be_caught_up_do_not_hold_up_the_others(user, monkeypatch):
    monkeypatch.setattr(worker, "BATCH", 2)
    stuck = [await made(user) for _ in range(3)]
    fine = await made(user)
    for stream_id in (*stuck, fine):
        await append(stream_id, named("Named"))
    real = Projector.catch_up

    async def catch_up(self, stream_id):
        if stream_id in stuck:
            raise UnavailableError("The row is locked.")
        return await real(self, stream_id)

    monkeypatch.setattr(Projector, "catch_up", catch_up)
    projection_worker = worker.ProjectionWorker()
    for _ in range(3):
        await projection_worker.drain()
    assert (await row(fine)).name == "Named"
    assert (await projection_worker.log.backlog()).count == 3


async def test_a_conversation_whose_creation_was_rolled_back_has_no_log_to_append_to(user, redis_url, log_prefix):
    stream_id = uuid4()
    with pytest.raises(ConflictError):
        async with async_session_factory() as session:
            await StreamRepository(session).create(user.id, SITE, stream_id=stream_id)
            await session.before_commit()  # as leaving the block does, right before COMMIT
            await StreamRepository(session).create(user.id, SITE, stream_id=stream_id)
    with pytest.raises(NotFoundError):
        await append(stream_id, named("Nobody's"))
    with client(redis_url) as connection:
        assert not connection.exists(LogKey.stream(stream_id).text(log_prefix))


async def test_a_unit_of_work_reads_a_log_that_is_far_ahead_in_pages_of_a_bounded_size(user, monkeypatch):
    stream_id = await made(user)
    snapshot = Event(type="graph_snapshot", data={"graphSnapshot": {"steps": [], "name": "N", "more": "x" * 100_000}})
    for _ in range(10):
        await Projector().append(stream_id, [snapshot] * 30)
    sizes, exchange, read = [], EventLog.exchange, EventLog.read

    async def sized_exchange(log, parts):
        answers = await exchange(log, parts)
        sizes.extend(sum(len(entry.raw) for entry in answer.entries) for answer in answers)
        return answers

    async def sized_read(log, key, **bounds):
        entries = await read(log, key, **bounds)
        sizes.append(sum(len(entry.raw) for entry in entries))
        return entries

    monkeypatch.setattr(EventLog, "exchange", sized_exchange)
    monkeypatch.setattr(EventLog, "read", sized_read)
    await StreamRepository().update_projection(stream_id, record_type="mine")
    assert max(sizes) < 64 * 101_000
    assert sum(sizes) > 300 * 100_000
    monkeypatch.setattr(EventLog, "exchange", exchange)
    monkeypatch.setattr(EventLog, "read", read)
    await proven()
