"""The log follows the database: units of work, a Redis that is away or full, late appends, and rows that are gone."""

import asyncio
import contextlib
import json
from uuid import uuid4

import pytest

from tests.support.conversations import assert_sound, conversation, link, said, texts_of
from tests.support.projections import DELTA, MESSAGE, at_rest, columns_of, rows_of, unlogged_of
from veupath_store import ProjectionWorker, Projector, StreamRepository, async_session_factory
from veupath_store.errors import NotFoundError, UnavailableError
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.scripts import GONE
from veupath_store.repositories import OperationRepository
from veupath_store.values import LagState, OperationType, RebuildOutcome

pytestmark = pytest.mark.with_log

FIRST = said("first")


class RolledBackError(Exception):
    pass


def keys(logs) -> list[bytes]:
    """All that Redis holds, but for what says that operations are gone, which expires."""
    found = logs.redis.scan_iter(match=f"{logs.prefix}*", count=1_000)
    return [key for key in found if GONE not in key.decode()]


async def test_a_row_that_is_changed_all_the_time_is_left_after_one_entry(stream, logs, watcher, monkeypatch):
    step, taken = EventLog.step, []

    async def step_while_others_rename(log, steps):
        answers = await step(log, steps)
        taken.append(len(steps))
        await StreamRepository().update_projection(stream, name=f"name {len(taken)}")
        return answers

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "step", step_while_others_rename)
        async with asyncio.timeout(30):
            await ProjectionWorker().drain()
    assert len(taken) <= 3
    assert await unlogged_of(watcher, stream)
    await assert_sound(watcher, logs)


class TestOfUnitsOfWork:
    """A conversation begins with its first message and the operation that answers it."""

    async def test_a_rolled_back_event_of_a_conversation_that_is_there_leaves_no_trace(self, stream, watcher, logs):
        await at_rest()
        rows, entries = await rows_of(watcher), logs.entries(stream)
        with pytest.raises(RolledBackError):
            async with async_session_factory() as session:
                await Projector().append(stream, FIRST, session=session)
                await StreamRepository(session).update_projection(stream, name="two")
                raise RolledBackError
        await at_rest()
        assert (await rows_of(watcher), logs.entries(stream)) == (rows, entries)

    async def test_events_of_a_unit_that_deletes_the_conversation_go_with_it(self, stream, watcher, logs):
        async with async_session_factory() as session:
            await Projector().append(stream, FIRST, session=session)
            await StreamRepository(session).delete(stream)
        await at_rest()
        assert keys(logs) == []
        assert await watcher.fetchval("SELECT count(*) FROM stream_events") == 0

    async def test_a_key_makes_an_event_of_two_units_one(self, stream, watcher, logs):
        keyed = said("once", key=str(uuid4()))
        for _ in range(2):
            async with async_session_factory() as session:
                await Projector().append(stream, keyed, session=session)
        await assert_sound(watcher, logs)
        assert await texts_of(stream) == ["once"]

    @pytest.mark.parametrize("first_in_a_unit", [True, False])
    async def test_a_key_makes_an_event_one_that_is_appended_again_when_it_is_logged(
        self, stream, watcher, logs, first_in_a_unit
    ):
        await at_rest()
        keyed, other = (said(text, key=uuid4()) for text in ("once", "other"))
        once_more = ((other + keyed, True), (keyed + other, True), (keyed, False))
        for events, in_a_unit in ((keyed, first_in_a_unit), *once_more):
            async with async_session_factory() as session:
                await Projector().append(stream, events, session=session if in_a_unit else None)
            await assert_sound(watcher, logs)
        assert await texts_of(stream) == ["once", "other"]
        assert await watcher.fetchval("SELECT count(*) FROM stream_events") == 0

    async def test_an_event_is_appended_to_a_log_that_has_lost_it_though_its_key_is_there(self, stream, watcher, logs):
        keyed = said("once", key=uuid4())
        async with async_session_factory() as session:
            await Projector().append(stream, keyed, session=session)
        await at_rest()
        logs.redis.delete(logs.key(stream))
        async with async_session_factory() as session:
            await Projector().append(stream, keyed, session=session)
        await assert_sound(watcher, logs)
        assert await texts_of(stream) == ["once"]


@pytest.mark.with_log(private=True, log_timeout=0.3, pool_max_size=1, catch_up=True)
class TestWhileRedisIsAway:
    """One connection: whoever holds it while Redis is asked fails all the others."""

    @pytest.mark.parametrize("how", ["down", "frozen"])
    async def test_no_write_and_no_read_fails_and_all_is_logged_after_its_return(
        self, how, user, private_redis, watcher, logs
    ):
        *kept, gone = [await conversation(user, f"{n}") for n in range(5)]
        await at_rest()
        with getattr(private_redis, how)():
            catching_up = asyncio.create_task(self.insist())
            await asyncio.gather(*(self.change(stream_id) for stream_id in kept))
            assert await StreamRepository().delete(gone)
            async with async_session_factory() as session:
                new = await StreamRepository(session).create(user.id, "plasmodb", name="new")
                await Projector().append(new.id, FIRST, session=session)
            assert await unlogged_of(watcher, kept[0]) >= {"result_count", "plan"}
            listed = await StreamRepository().list_projections(user.id)
            assert {one.stream_id for one in listed} == {*kept, new.id}
            catching_up.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await catching_up
            with pytest.raises(UnavailableError):
                await ProjectionWorker().drain()
        await at_rest()
        for stream_id in kept:
            entry = json.loads(logs.entries(stream_id)[-1].raw)
            assert (entry["resultCount"], entry["plan"]) == (5, {"root": {"id": "5"}})
            if how == "down":
                # One that is frozen carries out later what it was sent meanwhile.
                assert len(logs.entries(stream_id)) == 2, "changes between two catch-ups are one entry"
        assert logs.types(new.id) == ["projection_patched", "user_message"]
        assert not logs.redis.exists(logs.key(gone))
        await assert_sound(watcher, logs)

    @staticmethod
    async def change(stream_id) -> None:
        for number in range(6):
            plan = {"root": {"id": str(number)}}
            await StreamRepository().update_projection(stream_id, result_count=number, plan=plan)
            assert (await StreamRepository().get_projection(stream_id)).result_count == number

    @staticmethod
    async def insist() -> None:
        """A worker beside the process's own catch-up, which never gives up."""
        while True:
            with contextlib.suppress(UnavailableError):
                await ProjectionWorker().drain()
            await asyncio.sleep(0)


@pytest.mark.with_log(private=True)
class TestOfAFullRedis:
    @pytest.fixture
    def full(self, private_redis):
        """Redis takes nothing more, and drops nothing."""

        @contextlib.contextmanager
        def full():
            with private_redis.client() as beside:
                beside.config_set("maxmemory-policy", "noeviction")
                beside.config_set("maxmemory", beside.info("memory")["used_memory"] // 2)
                try:
                    yield
                finally:
                    beside.config_set("maxmemory", 0)

        return full

    async def test_it_can_be_trimmed_and_rid_of_logs_and_what_happened_meanwhile_is_logged(
        self, user, full, watcher, logs
    ):
        stream_id, gone = [await conversation(user, name) for name in "ab"]
        for one in (stream_id, gone):
            await Projector().append(one, said("x" * 1_000) * 200)
        await at_rest()
        with full():
            with pytest.raises(UnavailableError, match="memory"):
                await Projector().append(stream_id, [MESSAGE])
            await StreamRepository().update_projection(stream_id, name="two")
            assert await StreamRepository().delete(gone)
            assert (await columns_of(watcher, stream_id))["message_count"] == 200
            removed = await Projector().trim(stream_id, keep=1)
            assert removed == 200
            assert len(logs.entries(stream_id)) == 1
            with contextlib.suppress(UnavailableError):
                await ProjectionWorker().drain()
            assert not logs.redis.exists(logs.key(gone))
        columns = await columns_of(watcher, stream_id)
        assert (columns["name"], columns["message_count"]) == ("two", 200)
        await assert_sound(watcher, logs)
        assert not (await Projector().lag()).lagging, "nothing is lost"


class TestOfLateAppends:
    async def test_a_conversation_that_was_deleted_takes_none_and_is_not_brought_back(
        self, user, stream, watcher, logs
    ):
        operation_id = (await OperationRepository().register(user.id, OperationType.CHAT, stream_id=stream)).id
        await Projector().append(stream, FIRST)
        await StreamRepository().delete(stream)
        with contextlib.suppress(NotFoundError):
            # Its log may still be there for a moment.
            await Projector().append(stream, [MESSAGE])
        await at_rest()
        for events in ([MESSAGE], [DELTA], said("late", operation_id=operation_id)):
            with pytest.raises(NotFoundError):
                await Projector().append(stream, events)
        with pytest.raises(NotFoundError):
            async with async_session_factory() as session:
                await Projector().append(stream, [MESSAGE], session=session)
        await at_rest()
        assert [key for key in keys(logs) if str(stream).encode() in key] == []
        assert await watcher.fetchval("SELECT count(*) FROM streams") == 0
        assert (await Projector().rebuild(missing=True)).counts == {}
        assert (await Projector().log.backlog()).count == 0

    async def test_a_deleted_ones_log_that_comes_back_with_a_restore_of_redis_is_removed_again(self, stream, logs):
        await Projector().append(stream, FIRST)
        backup = logs.redis.dump(logs.key(stream))
        await StreamRepository().delete(stream)
        await at_rest()
        logs.redis.restore(logs.key(stream), 0, backup)
        assert (await Projector().rebuild(missing=True)).counts == {}
        await ProjectionWorker().sweep()
        assert not logs.redis.exists(logs.key(stream))


class TestOfRowsThatAreGone:
    """As after a restore of PostgreSQL to an earlier moment: the logs know conversations that the tables do not."""

    @pytest.fixture
    async def streams(self, user):
        streams = []
        for number in range(4):
            experiment = uuid4() if number % 2 else None
            stream = await StreamRepository().create(user.id, "plasmodb", name="Kinases", experiment_id=experiment)
            await Projector().append(stream.id, [*FIRST, link(number)])
            await StreamRepository().update_projection(stream.id, plan={"root": {"id": str(number)}})
            streams.append(stream.id)
        await at_rest()
        return streams

    @staticmethod
    async def tables(watcher) -> list:
        return [
            [dict(row) for row in await watcher.fetch(f"SELECT * FROM {table} ORDER BY {key}")]
            for table, key in (("streams", "id"), ("stream_projections", "stream_id"))
        ]

    async def test_they_are_made_anew_for_the_owner_that_their_logs_name(self, streams, user, stranger, watcher, logs):
        other, deleted = await conversation(stranger), await conversation(user, "deleted")
        await at_rest()
        backup = logs.redis.dump(logs.key(deleted))
        await StreamRepository().delete(deleted)
        await at_rest()
        logs.redis.restore(logs.key(deleted), 0, backup)
        before = await self.tables(watcher)
        await watcher.execute("DELETE FROM streams WHERE user_id = $1", user.id)
        lag = await Projector().lag()
        assert (lag.without_row, lag.counts) == (len(streams), {LagState.CURRENT: 1})
        assert (await Projector().rebuild()).counts == {RebuildOutcome.REBUILT: 1}, "only when it is asked for"
        report = await Projector().rebuild(missing=True)
        assert report.counts == {RebuildOutcome.REBUILT: len(streams) + 1}
        assert await self.tables(watcher) == before
        assert await StreamRepository().get_projection(other) is not None
        assert await StreamRepository().get_projection(deleted) is None, "a deletion is remembered"
        assert (await Projector().lag()).without_row == 0
        await assert_sound(watcher, logs)

    async def test_those_whose_owner_is_gone_or_that_name_none_stay_gone(self, streams, user, watcher, logs):
        nameless, wrong, *garbage = (uuid4() for _ in range(5))
        logs.add(nameless, "user_message", {"content": "old"})
        logs.redis.set(logs.key(wrong), "a string")
        owners = ({"userId": "nobody"}, {"userId": 7}, {"userId": str(user.id), "siteId": "x" * 300})
        for stream_id, bad in zip(garbage, owners, strict=True):
            logs.add(stream_id, "projection_patched", {"whole": "made", "siteId": "plasmodb", "name": "x", **bad})
        before = await self.tables(watcher)
        await watcher.execute("DELETE FROM streams WHERE user_id = $1", user.id)
        report = await Projector().rebuild(missing=True)
        assert report.counts == {RebuildOutcome.REBUILT: len(streams), RebuildOutcome.UNREADABLE: 4}
        assert {one.stream_id for one in report.refused} == {wrong, *garbage}
        assert await self.tables(watcher) == before
        await watcher.execute("DELETE FROM users WHERE id = $1", user.id)
        assert (await Projector().rebuild(missing=True)).counts == {RebuildOutcome.UNREADABLE: 4}
        assert logs.types(nameless) == ["user_message"], "what nobody can assign is left where it is"
