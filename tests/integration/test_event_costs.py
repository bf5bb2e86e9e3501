"""What the event log costs: statements to PostgreSQL, round trips to Redis, and entries that are read."""

import re
from contextlib import contextmanager

import pytest

from tests.support.conversations import conversation
from tests.support.projections import DELTA, MESSAGE, logged
from tests.support.proxies import proxy
from tests.support.redis_servers import new_prefix
from tests.support.statements import recorded
from veupath_store import StreamRepository, UserRepository, async_session_factory, close_db, init_db
from veupath_store.config import StoreSettings
from veupath_store.events.log.entries import Event
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.selection import TOGETHER
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.values import WdkStrategy

TURN = [
    *(Event(type="user_message", data={}), Event(type="assistant_message", data={})),
    *(Event(type="strategy_meta", data={"recordType": "gene"}), Event(type="model_selected", data={"modelId": "m"})),
    *(Event(type="graph_plan", data={"plan": {"root": {"id": str(n), "searchName": "s"}}}) for n in range(4)),
]
"""What changes the projection in a turn of a chat; all the rest are deltas."""

CAUGHT_UP = 3
"""Statements of a catch-up, whatever the number of conversations in it: their rows, their locks, and the write."""


@pytest.fixture
async def between(private_redis, tmp_path):
    async with proxy(private_redis.url, tmp_path) as between:
        yield between


@pytest.fixture
def settings(database_url, between):
    return logged(database_url, between.redis_url, new_prefix(), pool_max_size=1)


@pytest.fixture
async def stream_id(user):
    stream_id = await conversation(user)
    await Projector().catch_up(stream_id)
    return stream_id


class Costs:
    """What was done inside a block: statements to PostgreSQL, and round trips to Redis."""

    statements: list[str]
    trips: int

    def __eq__(self, other: object) -> bool:
        return (len(self.statements), self.trips) == other

    __hash__ = None


@pytest.fixture
async def costs(store, between):
    await Projector().log.ping()  # the making of the connection costs two trips

    @contextmanager
    def costs():
        cost, before = Costs(), between.trips
        with recorded() as statements:
            yield cost
        cost.statements, cost.trips = statements.statements, between.trips - before

    return costs


@pytest.fixture
def entries(private_redis):
    """How many entries Redis has been given since the last question."""
    before = 0

    def entries() -> int:
        nonlocal before
        with private_redis.client() as beside:
            now = beside.info("commandstats").get("cmdstat_xadd", {"calls": 0})["calls"]
        before, since = now, now - before
        return since

    return entries


def strategies(count: int, step_count: int) -> list[WdkStrategy]:
    return [WdkStrategy(wdk_strategy_id=n, name=f"strategy {n}", step_count=step_count) for n in range(count)]


async def test_appending_a_delta_asks_the_database_nothing_and_redis_once(stream_id, costs):
    for events in ([DELTA], [MESSAGE], [DELTA] * 50):
        with costs() as cost:
            await Projector().append(stream_id, events)
        assert cost == (0, 1)


async def test_a_turn_of_200_events_costs_three_statements_when_it_is_caught_up(stream_id, costs):
    projector = Projector()
    with costs() as cost:
        for batch in range(20):
            await projector.append(
                stream_id, [DELTA] * 10 if batch % 5 else [*TURN[batch // 5 * 2 :][:2], *[DELTA] * 8]
            )
    assert cost == (0, 20)
    with costs() as cost:
        done = await projector.catch_up(stream_id)
    assert done.events == 200
    # Where the row stands, its lock, and the write.
    words = ("SELECT p.stream_id", "FOR UPDATE", "UPDATE stream_projections")
    assert [word in sql for sql, word in zip(cost.statements, words, strict=True)] == [True] * 3
    assert cost.trips == 1
    projection = await StreamRepository().get_projection(stream_id)
    assert (projection.message_count, projection.model_id, projection.plan["root"]["id"]) == (2, "m", "3")


async def test_catching_up_what_is_caught_up_costs_one_read_and_one_round_trip(stream_id, costs):
    with costs() as cost:
        await Projector().catch_up(stream_id)
    assert cost == (1, 1)


async def test_a_new_conversation_asks_redis_nothing_and_its_log_begins_with_a_catch_up(user, costs):
    with costs() as cost:
        stream_id = await conversation(user)
    assert cost == (1, 0)
    with costs() as cost:
        await Projector().catch_up(stream_id)
    assert cost == (CAUGHT_UP, 1)


async def test_the_first_append_to_a_new_conversation_begins_its_log(user, costs):
    stream_id = await conversation(user)
    with costs() as cost:
        await Projector().append(stream_id, [MESSAGE])
    assert cost == (CAUGHT_UP, 3), "it asks, begins the log, and asks again"
    with costs() as cost:
        await Projector().append(stream_id, [MESSAGE])
    assert cost == (0, 1)


async def test_changes_ask_redis_nothing_and_several_are_one_entry(stream_id, costs, entries):
    await Projector().append(stream_id, [DELTA] * 30)
    with costs() as cost:
        await StreamRepository().update_projection(stream_id, record_type="gene")
        async with async_session_factory() as session:
            for number in range(5):
                await StreamRepository(session).update_projection(stream_id, result_count=number)
    assert cost == (1 + 5, 0)
    entries()
    with costs() as cost:
        await Projector().catch_up(stream_id)
    assert cost == (CAUGHT_UP, 1)
    assert entries() == 1


async def test_an_event_of_a_unit_of_work_is_one_statement_and_is_appended_with_the_rest(stream_id, costs, entries):
    with costs() as cost:
        async with async_session_factory() as session:
            await Projector().append(stream_id, [MESSAGE] * 3, session=session)
    assert cost == (1, 0)
    entries()
    with costs() as cost:
        await Projector().catch_up(stream_id)
    assert cost == (CAUGHT_UP + 1, 1), "and what is appended is not kept any longer"
    assert entries() == 3


async def test_a_sync_of_200_strategies_is_logged_in_groups(user, store, costs, entries):
    streams, groups = StreamRepository(), -(-200 // TOGETHER)
    entries()
    for step_count, statements, appended in ((1, 2, 200), (2, 2, 200), (2, 1, 0)):
        with costs() as cost:
            await streams.sync_wdk(user.id, "plasmodb", strategies(200, step_count))
        assert cost == (statements, 0)
        with costs() as cost:
            await ProjectionWorker().drain()
        # Beside the catch-ups one looks for logs to remove, and for rows and events (a page of 200, and one after it).
        assert len(cost.statements) == (CAUGHT_UP * groups if appended else 0) + 2 + bool(appended)
        assert cost.trips == (groups if appended else 0) + 1, "and one asks which logs have marks"
        assert entries() == appended


async def test_repositories_run_the_same_statements_with_and_without_a_log(settings, database_url):
    async def statements(chosen) -> list[str]:
        await init_db(settings=chosen)
        owner = await UserRepository().create()
        with recorded() as seen:
            stream = await StreamRepository().create(owner.id, "plasmodb", name="one")
            await StreamRepository().update_projection(stream.id, record_type="gene")
            await StreamRepository().dismiss(stream.id)
            await StreamRepository().sync_wdk(owner.id, "plasmodb", strategies(200, 1))
            await StreamRepository().delete(stream.id)
        await close_db()
        return seen.statements

    with_log, without = await statements(settings), await statements(StoreSettings(database_url=database_url))
    assert with_log == without
    assert len(with_log) == 6


def numbered(first: int, count: int) -> list[Event]:
    return [Event(type="assistant_delta", data={"number": f"delta-{n}"}) for n in range(first, first + count)]


def transferred(between) -> list[int]:
    """The numbers of the deltas that Redis has sent since the last question."""
    answered, between.answered = between.answered or b"", bytearray()
    return [int(number) for number in re.findall(rb"delta-(\d+)", bytes(answered))]


async def test_deltas_are_read_once_by_whoever_comes_first_and_never_again(stream_id, between):
    projector = Projector()
    transferred(between)
    await projector.append(stream_id, numbered(0, 1_000))
    await projector.lag()
    assert transferred(between) == []
    await projector.catch_up(stream_id)
    assert transferred(between) == list(range(1_000))
    await projector.append(stream_id, numbered(1_000, 50))
    await StreamRepository().update_projection(stream_id, record_type="gene")
    assert transferred(between) == [], "a repository reads no log"
    await projector.catch_up(stream_id)
    assert transferred(between) == list(range(1_000, 1_050))
    await projector.append(stream_id, numbered(1_050, 50))
    await projector.catch_up(stream_id)
    assert transferred(between) == list(range(1_050, 1_100))
    await projector.catch_up(stream_id)
    await projector.lag()
    assert transferred(between) == []


async def test_a_catch_up_reads_what_others_appended_once_however_much_it_is(stream_id, between):
    transferred(between)
    await Projector().append(stream_id, numbered(0, 2_600))
    await StreamRepository().update_projection(stream_id, record_type="gene")
    await Projector().catch_up(stream_id)
    assert transferred(between) == list(range(2_600))
