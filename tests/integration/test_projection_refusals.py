"""Logs that cannot be trusted and events that cannot be used: what is refused, what is skipped, and what one reads."""

import asyncio
import json
import logging
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest

from tests.support.conversations import conversation, named
from tests.support.folding import looped, nested
from tests.support.projections import DELTA, MESSAGE, Logs, columns_of, row_of
from veupath_store import StreamRepository
from veupath_store.documents.json import decode
from veupath_store.errors import InvalidInputError, UnavailableError
from veupath_store.events.log.entries import Event
from veupath_store.events.log.log import EventLog
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import CANNOT, ProjectionWorker, guarded
from veupath_store.inputs import limits
from veupath_store.values import LagState, RebuildOutcome, VerifyOutcome

pytestmark = pytest.mark.with_log

BIG = limits.DOCUMENT_BYTES
NOT_NOW = "the connection was refused, as no server listens there."


@pytest.fixture
async def stream_id(user, projector) -> UUID:
    """A conversation whose row has seen all of its log: its creation, six events, and a repository's write."""
    stream_id = await conversation(user)
    await projector.append(stream_id, [MESSAGE, DELTA, Event(type="strategy_meta", data={"recordType": "gene"})])
    await StreamRepository().update_projection(stream_id, plan={"root": {"id": "a", "searchName": "s"}})
    await projector.append(stream_id, [MESSAGE, DELTA, MESSAGE])
    await projector.catch_up(stream_id)
    return stream_id


@dataclass(frozen=True)
class Asked:
    """One conversation, and what the projector says of it without a change to its row."""

    projector: Projector
    watcher: asyncpg.Connection
    stream_id: UUID
    logs: Logs

    async def row(self) -> str:
        return await row_of(self.watcher, self.stream_id)

    async def columns(self) -> dict:
        return await columns_of(self.watcher, self.stream_id)

    async def rebuild(self) -> RebuildOutcome:
        before = await self.row()
        report = await self.projector.rebuild(stream_id=self.stream_id)
        assert await self.row() == before
        [outcome] = report.counts
        refused = outcome in {RebuildOutcome.BEHIND, RebuildOutcome.INCOMPLETE}
        assert [one.stream_id for one in report.refused] == [self.stream_id] * refused
        return outcome

    async def verify(self) -> VerifyOutcome:
        [outcome] = (await self.projector.verify(stream_id=self.stream_id)).counts
        return outcome

    async def lag(self) -> LagState:
        [state] = (await self.projector.lag(stream_id=self.stream_id)).counts
        return state

    async def all(self) -> tuple:
        return await self.rebuild(), await self.verify(), await self.lag()

    async def assert_goes_on(self) -> None:
        """Something new is appended: nothing that the row held is lost, and the log explains it again."""
        before = await self.columns()
        await self.projector.append(self.stream_id, [DELTA, MESSAGE])
        assert (await self.projector.catch_up(self.stream_id)).problems == ()
        after = await self.columns()
        changed = {column for column in after if after[column] != before[column]}
        assert changed <= {"message_count", "last_event_id", "updated_at"}
        assert after["message_count"] == before["message_count"] + 1
        assert await self.all() == SOUND
        await self.logs.assert_explain(self.watcher)

    async def assert_names_loss(self, messages: int) -> None:
        """What was lost is on the row and in `lag`, and a row that is made anew from its log has it, too."""
        lost = (await self.columns())["lost"]
        assert lost["messages"] == messages
        [lagging] = (await self.projector.lag()).lagging
        assert (lagging.stream_id, lagging.state, dict(lagging.lost)) == (self.stream_id, LagState.CURRENT, lost)
        row = await self.row()
        await self.watcher.execute("DELETE FROM stream_projections")
        await self.projector.rebuild()
        assert await self.row() == row


@pytest.fixture
def asked(projector, watcher, stream_id, logs):
    return Asked(projector, watcher, stream_id, logs)


SOUND = (RebuildOutcome.REBUILT, VerifyOutcome.EQUAL, LagState.CURRENT)


def lose_end(asked: Asked, how: str) -> None:
    logs, stream_id = asked.logs, asked.stream_id
    if how == "deleted":
        logs.redis.delete(logs.key(stream_id))
    elif how == "emptied":
        logs.redis.xtrim(logs.key(stream_id), maxlen=0, approximate=False)
    else:
        logs.delete(stream_id, *logs.positions(stream_id)[-2:])


class TestOfLogs:
    async def test_a_log_that_was_trimmed_below_the_row_is_not_folded_over_it(self, asked):
        row = await asked.row()
        asked.logs.redis.xtrim(
            asked.logs.key(asked.stream_id), minid=asked.logs.positions(asked.stream_id)[3], approximate=False
        )
        assert await asked.all() == (RebuildOutcome.INCOMPLETE, VerifyOutcome.INCOMPLETE, LagState.CURRENT)
        assert (await asked.projector.catch_up(asked.stream_id)).events == 0
        await asked.projector.append(asked.stream_id, [MESSAGE])
        assert (await asked.projector.catch_up(asked.stream_id)).events == 1
        assert (await asked.columns())["message_count"] == json.loads(row)["message_count"] + 1
        assert await asked.rebuild() is RebuildOutcome.INCOMPLETE
        [suspect] = (await asked.projector.verify()).suspects
        assert {(one.column, one.stored, one.folded) for one in suspect.differences} >= {
            ("name", "one", "New Conversation"),
            ("message_count", 4, 3),
        }

        report = await asked.projector.rebuild(stream_id=asked.stream_id, force=True)
        assert (report.counts, report.refused) == ({RebuildOutcome.REBUILT: 1}, ())
        columns = await asked.columns()
        assert (columns["name"], columns["message_count"]) == ("New Conversation", 3)
        assert (await asked.rebuild(), await asked.verify()) == (RebuildOutcome.INCOMPLETE, VerifyOutcome.EQUAL)
        await StreamRepository().delete(asked.stream_id)

    async def test_a_log_that_was_trimmed_beyond_the_row_says_for_good_what_is_gone(self, asked):
        await asked.projector.append(asked.stream_id, [MESSAGE, MESSAGE, MESSAGE])
        asked.logs.redis.xtrim(
            asked.logs.key(asked.stream_id), minid=asked.logs.positions(asked.stream_id)[-1], approximate=False
        )
        before = await asked.columns()
        assert await asked.all() == (RebuildOutcome.BEHIND, VerifyOutcome.BEHIND, LagState.BEHIND)
        assert (await asked.projector.catch_up(asked.stream_id)).events == 1
        assert await asked.all() == SOUND
        after = await asked.columns()
        assert (after["message_count"], after["lost"]["messages"]) == (1, 3), "what the log lists, and what it did"
        assert (after["lost"]["after"], after["lost"]["before"]) == ("0-0", before["last_event_id"])
        await asked.assert_goes_on()
        await asked.assert_names_loss(3)

    @pytest.mark.parametrize("first", ["catch-up", "append", "event", "write"])
    @pytest.mark.parametrize(("how", "left"), [("deleted", 0), ("emptied", 0), ("tail lost", 2)])
    async def test_a_log_that_lost_its_end_goes_on_and_says_for_good_what_is_gone(self, how, left, first, asked):
        before = await asked.columns()
        lose_end(asked, how)
        assert await asked.all() == (RebuildOutcome.BEHIND, VerifyOutcome.BEHIND, LagState.AHEAD)
        if first == "append":
            await asked.projector.append(asked.stream_id, [MESSAGE])
        elif first == "event":
            await asked.projector.append(asked.stream_id, [named("two")])
        elif first == "write":
            await StreamRepository().update_projection(asked.stream_id, name="two")
        await asked.projector.catch_up(asked.stream_id)
        after = await asked.columns()
        changed = {column for column in after if after[column] != before[column]}
        expected = {"name"} if first in ("event", "write") else set()
        assert changed - {"message_count", "last_event_id", "lost", "updated_at"} == expected
        assert after["message_count"] == left + (first == "append")
        assert await asked.all() == SOUND
        await asked.assert_goes_on()
        await asked.assert_names_loss(3 - left)

    async def test_two_losses_are_one_mark(self, asked):
        for _ in range(2):
            asked.logs.redis.delete(asked.logs.key(asked.stream_id))
            await asked.projector.catch_up(asked.stream_id)
            await asked.assert_goes_on()
        await asked.assert_names_loss(3 + 1)

    async def test_a_lost_log_is_folded_over_the_row_only_by_force(self, asked):
        asked.logs.redis.delete(asked.logs.key(asked.stream_id))
        report = await asked.projector.rebuild(force=True)
        assert report.counts == {RebuildOutcome.REBUILT: 1}
        columns = await asked.columns()
        assert (columns["name"], columns["plan"], columns["message_count"]) == ("New Conversation", {}, 0)
        assert columns["lost"] is not None
        assert await asked.all() == SOUND
        await asked.assert_goes_on()

    async def test_a_log_whose_clock_is_behind_the_row_goes_on_after_what_the_row_has_seen(self, asked):
        """The row has seen an entry of the year 2100; then the log is lost, and time begins anew."""
        asked.logs.add(asked.stream_id, "user_message", {}, "4102444800000-0")
        await asked.projector.catch_up(asked.stream_id)
        asked.logs.redis.delete(asked.logs.key(asked.stream_id))
        [position] = await asked.projector.append(asked.stream_id, [MESSAGE])
        assert position == "4102444800000-2", "after the whole row, which follows what the row has seen"
        await StreamRepository().update_projection(asked.stream_id, name="two")
        await asked.projector.catch_up(asked.stream_id)
        assert asked.logs.types(asked.stream_id) == ["projection_patched", "user_message", "projection_patched"]
        columns = await asked.columns()
        assert (columns["name"], columns["message_count"]) == ("two", 1)
        await asked.assert_goes_on()
        await asked.assert_names_loss(4)

    async def test_a_log_that_never_was_is_legal(self, asked):
        asked.logs.redis.delete(asked.logs.key(asked.stream_id))
        await asked.watcher.execute("UPDATE stream_projections SET last_event_id = NULL")
        assert (await asked.verify(), await asked.lag()) == (VerifyOutcome.EMPTY, LagState.UNLOGGED)
        before = await asked.columns()
        assert await ProjectionWorker().drain() > 0
        assert {**await asked.columns(), "last_event_id": None} == before
        assert await asked.all() == SOUND
        await asked.assert_goes_on()


@pytest.mark.with_log(private=True, log_timeout=1.0)
async def test_while_redis_is_down_everything_says_so_and_harms_nothing(asked, private_redis, caplog):
    row = await asked.row()
    worker = ProjectionWorker(poll_seconds=0.01)
    with private_redis.down():
        for call in (
            asked.projector.catch_up(asked.stream_id),
            asked.projector.rebuild(),
            asked.projector.rebuild(force=True),
            asked.projector.verify(),
            asked.projector.lag(),
            asked.projector.append(asked.stream_id, [MESSAGE]),
        ):
            with pytest.raises(UnavailableError) as error:
                await call
            assert NOT_NOW in str(error.value)
        assert await asked.row() == row
        with caplog.at_level(logging.WARNING, "veupath_store.events"):
            await guarded(worker.drain(), CANNOT)
        [message] = caplog.messages
        assert message.startswith("projections cannot be caught up now: ")
        assert NOT_NOW in message
    assert await asked.all() == SOUND


def snapshot(steps: list) -> dict:
    return {"graphSnapshot": {"steps": steps, "rootStepId": "0", "name": "of the snapshot"}}


LEFT = "the plan was left as it was: "
NO_OBJECT = "its data is no JSON object"
BAD = {
    "no JSON": ("user_message", b"{", NO_OBJECT),
    "cycle": ("graph_snapshot", snapshot(looped(2)), LEFT + "its steps form a cycle"),
    "a plan 201 deep": (
        "graph_plan",
        nested(limits.PLAN_DEPTH + 1, "of the plan"),
        LEFT + "steps are nested more than 200 levels deep",
    ),
    "a plan 5,000 deep": ("graph_plan", nested(5_000, "of the plan"), NO_OBJECT),
    "17 MB": (
        "graph_snapshot",
        snapshot([{"id": "0", "searchName": "s", "displayName": "x" * (BIG + 1_000)}]),
        LEFT + f"it is larger than {BIG} bytes as JSON",
    ),
}
"""Of each kind one: `tests/unit/test_fold_hostile.py` has them all."""


class TestOfEvents:
    @pytest.mark.parametrize("kind", [pytest.param(it, marks=pytest.mark.large) if "17 MB" in it else it for it in BAD])
    async def test_a_bad_event_is_skipped_reported_and_does_not_stop_the_stream(self, kind, asked, caplog):
        event_type, data, reason = BAD[kind]
        before = await asked.columns()
        position = asked.logs.add(asked.stream_id, event_type, data)
        await asked.projector.append(asked.stream_id, [MESSAGE])
        counted = 1 if "17 MB" in kind else 2  # of large entries not all are
        assert (await asked.projector.lag()).events == counted
        with caplog.at_level(logging.WARNING, "veupath_store.events"):
            assert await ProjectionWorker().drain() == 1
        assert caplog.messages == [f"entry {position} ({event_type}) of stream {asked.stream_id} was skipped: {reason}"]
        after = await asked.columns()
        assert after["message_count"] == before["message_count"] + 1
        assert after["plan"] == before["plan"]
        if not reason.startswith(LEFT):
            assert after["name"] == before["name"]

        [problem] = (await asked.projector.rebuild()).problems[asked.stream_id]
        assert (problem.position, problem.type, problem.reason) == (position, event_type, reason)
        assert await asked.all() == SOUND
        await asked.logs.assert_explain(asked.watcher)

    @pytest.mark.large
    @pytest.mark.parametrize("kind", ["graph_snapshot", "graph_plan"])
    async def test_a_document_of_16_mb_passes_and_a_larger_one_is_refused_at_once(self, kind, asked):
        def data(size: int) -> dict:
            node = {"id": "0", "searchName": "s", "displayName": "x" * size}
            return snapshot([node]) if kind == "graph_snapshot" else {"plan": {"root": node}}

        room = BIG - len(json.dumps(data(0), separators=(",", ":")))
        length = len(asked.logs.entries(asked.stream_id))
        with pytest.raises(InvalidInputError) as error:
            await asked.projector.append(asked.stream_id, [MESSAGE, Event(type=kind, data=data(room + 1))])
        assert str(error.value) == f"events[1].data: it is larger than {BIG} bytes as JSON"
        assert len(asked.logs.entries(asked.stream_id)) == length
        await asked.projector.append(asked.stream_id, [Event(type=kind, data=data(room))])
        assert (await asked.projector.catch_up(asked.stream_id)).problems == ()
        stored = decode(
            await asked.watcher.fetchval("SELECT plan FROM stream_projections WHERE stream_id = $1", asked.stream_id)
        )
        assert stored["root"]["displayName"] == "x" * room
        assert await asked.all() == SOUND

    async def test_nan_and_the_infinities_are_null(self, asked):
        """What an old application wrote is read so, and what a new one appends is written so."""
        asked.logs.add(asked.stream_id, "strategy_meta", b'{"name":"two","recordType":NaN,"x":[Infinity,-Infinity]}')
        await asked.projector.append(
            asked.stream_id, [Event(type="user_message", data={"x": float("nan"), "y": [float("-inf")]})]
        )
        assert (await asked.projector.catch_up(asked.stream_id)).problems == ()
        columns = await asked.columns()
        assert (columns["name"], columns["record_type"], columns["message_count"]) == ("two", "gene", 4)
        assert json.loads(asked.logs.entries(asked.stream_id)[-1].raw) == {"x": None, "y": [None]}
        assert await asked.all() == SOUND


async def test_a_sweep_that_fails_leaves_no_work_behind(user, projector, monkeypatch):
    """What went on after it would change rows while another sweep, or the end of the process, is under way."""
    for name in ("one", "two"):
        await StreamRepository().create(user.id, "plasmodb", name=name)
    before, calls, step = asyncio.all_tasks(), [], EventLog.step

    async def first_fails_at_once(self, *arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise UnavailableError("gone")
        await asyncio.sleep(0.2)
        return await step(self, *arguments, **options)

    monkeypatch.setattr(EventLog, "step", first_fails_at_once)
    with pytest.raises(UnavailableError):
        await ProjectionWorker(concurrency=2).sweep()
    assert asyncio.all_tasks() <= before
    assert len(calls) > 1
