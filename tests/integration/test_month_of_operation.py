"""What befalls a Redis in a month of operation, and what the store does meanwhile: the table of docs/event-log.md.

In each row a conversation and another one, both at rest, have three messages; two were said since a copy was made of
Redis. Then, in this order, while Redis is as the row says: a rename, `lag`, `verify`, `rebuild`, `append` of an event
with a key, and a follower that had seen all and comes back whenever it is cut off. Afterwards Redis is well again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID, uuid4

import pytest

from tests.support.checkout import REPOSITORY
from tests.support.conversations import conversation, texts_of
from tests.support.month import GAP, HARMED_ALONE, MONTH, NOTHING, THE_EVENT, WAITS, World, ahead_and_back, full
from tests.support.projections import MESSAGE, at_rest, logged
from tests.support.waiting import becomes
from veupath_store import Event, LogReader, ProjectionWorker, Projector, StreamRepository, close_db, init_db
from veupath_store.errors import ConfigurationError, InternalError, OutcomeUnknownError, StoreError, UnavailableError
from veupath_store.repositories import UserRepository
from veupath_store.values import LagState, VerifyOutcome

pytestmark = pytest.mark.with_log(private=True, log_timeout=0.5)

_ERRORS = (OutcomeUnknownError, UnavailableError, ConfigurationError, InternalError)


class Follower:
    """A client that had seen all of a conversation, and comes back with its last id whenever it is cut off."""

    def __init__(self, stream_id: UUID, last: str) -> None:
        self.stream_id, self.last = stream_id, last
        self.told: list[str] = []
        self.contents: list[str] = []

    async def run(self) -> None:
        while True:
            try:
                async for event in await LogReader().follow(self.stream_id, position=self.last):
                    self.last = event.id
                    self.contents.append(event.data.get("content", ""))
                    if event.type == "log_gap":
                        self.note(GAP)
                    elif event.data.get("content") == "new":
                        self.note(THE_EVENT)
            except StoreError as exc:
                self.note(kind_of(exc))
                await asyncio.sleep(0.05)

    def note(self, what: str) -> None:
        if what not in self.told:
            self.told.append(what)

    def cell(self, wanted: str) -> bool:
        told = ", ".join(self.told)
        waits = f"{told}, {WAITS}" if told else WAITS
        return told in wanted.split(" or ") or (THE_EVENT not in told and waits in wanted.split(" or "))


@asynccontextmanager
async def following(stream_id: UUID) -> AsyncIterator[Follower]:
    last = (await LogReader().page_events(stream_id)).items[-1].id
    follower = Follower(stream_id, last)
    task = asyncio.create_task(follower.run())
    await asyncio.sleep(0.1)
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.wait({task})


def kind_of(error: StoreError) -> str:
    return f"`{next(kind.__name__ for kind in _ERRORS if isinstance(error, kind))}`"


async def outcome(call: Awaitable[object], of: Callable[..., str]) -> str:
    try:
        return of(await call)
    except StoreError as exc:
        return kind_of(exc)


async def asked_of(stream_id: UUID, said: Event) -> dict[str, str]:
    """What the calls do for one conversation, in the order of the table."""

    def only(found: list, then: str, what: str) -> str:
        return next((str(getattr(one, what)) for one in found if one.stream_id == stream_id), then)

    def lag(report) -> str:
        waiting = "unlogged" if report.counts.get(LagState.UNLOGGED) else "current"
        return only(report.lagging, waiting, "state")

    return {
        "lag": await outcome(Projector().lag(), lag),
        "verify": await outcome(Projector().verify(), lambda it: only(it.suspects, "equal", "outcome")),
        "rebuild": await outcome(Projector().rebuild(), lambda it: only(it.refused, "rebuilt", "outcome")),
        "append": await outcome(Projector().append(stream_id, [said]), lambda _: "appended"),
    }


@pytest.fixture
async def world(user, private_redis, logs):
    chat, other = [await conversation(user, name) for name in ("chat", "other")]
    for one in (chat, other):
        await Projector().append(one, [MESSAGE])
    await at_rest()
    older = private_redis.copy()
    for one in (chat, other):
        await Projector().append(one, [MESSAGE] * 2)
    await at_rest()
    return World(private_redis, logs, chat, other, older)


def a_message(content: str) -> Event:
    return Event(type="user_message", data={"content": content, "messageId": content}, key=uuid4())


@pytest.mark.parametrize("row", MONTH, ids=lambda row: row.redis)
async def test_a_month_of_operation(row, world, watcher):
    said = a_message("new")
    async with following(world.chat) as follower, following(world.other) as others:
        with row.state(world):
            rename = await outcome(StreamRepository().update_projection(world.chat, name="renamed"), lambda _: "kept")
            found = {"rename": rename, **await asked_of(world.chat, said)}
            wanted = {name: getattr(row, name) for name in found}
            assert {name: cell for name, cell in found.items() if cell not in wanted[name].split(" or ")} == {}, found
            await becomes(partial(_is, follower, row.follower), True, f"the follower is told {row.follower}")
            if row.state in HARMED_ALONE:
                at_peace = {"lag": "current", "verify": "equal", "rebuild": "rebuilt", "append": "appended"}
                assert await asked_of(world.other, a_message("new")) == at_peace
                await becomes(partial(_is, others, THE_EVENT), True, "the other's follower goes on")
            # Nobody falls over who works meanwhile.
            for work in (ProjectionWorker().drain, ProjectionWorker().sweep):
                with contextlib.suppress(*_ERRORS):
                    await work()
        await at_rest()
        # What was refused, or is in doubt, is repeated, and is there once: so is what was not.
        await Projector().append(world.chat, [said])
        await Projector().append(world.chat, [a_message("after")])
        await at_rest()
        await becomes(partial(_has_seen, follower, "after"), True, "the follower goes on")
    rows = {row.stream_id: row for row in await StreamRepository().list_projections(await _owner(watcher))}
    assert rows[world.chat].name == "renamed"
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: 2}
    lag = await Projector().lag()
    assert lag.counts == {LagState.CURRENT: 2}
    for stream_id, one in rows.items():
        messages = await texts_of(stream_id)
        assert one.message_count == len(messages), "a message is listed, and counted"
        assert messages.count("new") == 1 or stream_id == world.other
    lost = {one.stream_id: one.lost["messages"] for one in lag.lagging}
    assert (f"{lost[world.chat]} messages are lost" if world.chat in lost else NOTHING) == row.afterwards
    assert world.other not in lost or row.state not in HARMED_ALONE


async def _is(follower: Follower, wanted: str) -> bool:
    return follower.cell(wanted)


async def _has_seen(follower: Follower, content: str) -> bool:
    return content in follower.contents


async def _owner(watcher) -> UUID:
    return await watcher.fetchval("SELECT id FROM users")


PAGE = (REPOSITORY / "docs" / "event-log.md").read_text(encoding="utf-8").splitlines()


def test_the_page_has_this_table():
    for row in MONTH:
        assert str(row) in PAGE


async def test_a_sweep_that_was_claimed_by_a_clock_ahead_holds_up_nobody(world):
    with ahead_and_back(world):
        log = Projector().log
        assert await log.claim_sweep(60)
        assert not await log.claim_sweep(60)


async def test_a_redis_that_takes_no_entries_is_said_once_and_what_needs_none_is_folded(world, caplog):
    names = [f"{number}" for number in range(40)]
    owner = (await StreamRepository().get_projection(world.chat)).user_id
    for name in names:
        await StreamRepository().create(owner, "plasmodb", name=name)
    await Projector().append(world.other, [MESSAGE])
    with full(world):
        with pytest.raises(UnavailableError, match="memory is full"):
            await ProjectionWorker().drain()
        assert (await StreamRepository().get_projection(world.other)).message_count == 4
    assert len([record for record in caplog.records if "cannot be caught up" in record.message]) == 1


async def test_two_applications_on_one_prefix_leave_each_others_logs_alone(world, settings, server, template):
    """The other one's rows follow with its own sweep, where this one's worker has taken its mark away."""
    async with server.database(template) as url:
        theirs = logged(url, settings.redis_url.get_secret_value(), settings.log_prefix)
        await close_db()
        await init_db(settings=theirs)
        stranger = await UserRepository().create()
        stream_id = (await StreamRepository().create(stranger.id, "plasmodb", name="theirs")).id
        await at_rest()
        await Projector().append(stream_id, [MESSAGE])
        entries = world.logs.entries(stream_id)
        await close_db()

        await init_db(settings=settings)
        await ProjectionWorker().drain()
        await ProjectionWorker().sweep()
        assert (await Projector().rebuild(missing=True)).counts == {"rebuilt": 2}
        assert (await Projector().lag()).without_row == 1
        assert world.logs.entries(stream_id) == entries
        await close_db()

        await init_db(settings=theirs)
        assert (await Projector().lag()).counts == {"behind": 1}
        await ProjectionWorker().sweep()
        assert (await StreamRepository().get_projection(stream_id)).message_count == 1
        assert (await Projector().verify()).counts == {"equal": 1}
        assert (await Projector().lag()).without_row == 2
        await close_db()
    await init_db(settings=settings)
