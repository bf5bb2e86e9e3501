"""What the event log costs: statements to PostgreSQL, round trips to Redis, and entries that are read."""

import re
from uuid import uuid4

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


@pytest.fixture
async def cost_of(store, between, private_redis):
    """What some calls cost, one after the other: statements to PostgreSQL, round trips to Redis, and new entries."""
    await Projector().log.ping()  # the making of the connection costs two trips

    def entries() -> int:
        with private_redis.client() as beside:
            return beside.info("commandstats").get("cmdstat_xadd", {"calls": 0})["calls"]

    async def cost_of(*calls) -> tuple[int, int, int]:
        before, trips = entries(), between.trips
        with recorded() as statements:
            for call in calls:
                await call
        return len(statements), between.trips - trips, entries() - before

    return cost_of


def strategies(count: int, step_count: int) -> list[WdkStrategy]:
    return [WdkStrategy(wdk_strategy_id=n, name=f"strategy {n}", step_count=step_count) for n in range(count)]


async def in_a_session(*calls) -> None:
    async with async_session_factory() as session:
        for call in calls:
            await call(session)


async def test_appending_a_delta_asks_the_database_nothing_and_redis_once(stream_id, cost_of):
    for events in ([DELTA], [MESSAGE], [DELTA] * 50):
        assert await cost_of(Projector().append(stream_id, events)) == (0, 1, len(events))


async def test_a_turn_of_200_events_costs_three_statements_when_it_is_caught_up(stream_id, cost_of, between):
    projector = Projector()
    batches = [[DELTA] * 10 if batch % 5 else [*TURN[batch // 5 * 2 :][:2], *[DELTA] * 8] for batch in range(20)]
    assert await cost_of(*(projector.append(stream_id, batch) for batch in batches)) == (0, 20, 200)
    before = between.trips
    with recorded() as sent:
        done = await projector.catch_up(stream_id)
    assert (done.events, between.trips - before) == (200, 1)
    # Where the row stands, its lock, and the write.
    words = ("SELECT p.stream_id", "FOR UPDATE", "UPDATE stream_projections")
    assert [word in sql for sql, word in zip(sent, words, strict=True)] == [True] * 3
    projection = await StreamRepository().get_projection(stream_id)
    assert (projection.message_count, projection.model_id, projection.plan["root"]["id"]) == (2, "m", "3")


async def test_catching_up_what_is_caught_up_costs_one_read_and_one_round_trip(stream_id, cost_of):
    assert await cost_of(Projector().catch_up(stream_id)) == (1, 1, 0)


async def test_a_new_conversation_asks_redis_nothing_and_its_log_begins_with_a_catch_up(user, cost_of):
    stream_id = uuid4()
    assert await cost_of(conversation(user, stream_id=stream_id)) == (1, 0, 0)
    assert await cost_of(Projector().catch_up(stream_id)) == (CAUGHT_UP, 1, 1)


async def test_the_first_append_to_a_new_conversation_begins_its_log(user, cost_of):
    stream_id = await conversation(user)
    first = await cost_of(Projector().append(stream_id, [MESSAGE]))
    assert first == (CAUGHT_UP, 3, 2), "it asks, begins the log, and asks again"
    assert await cost_of(Projector().append(stream_id, [MESSAGE])) == (0, 1, 1)


async def test_changes_ask_redis_nothing_and_several_are_one_entry(stream_id, cost_of):
    await Projector().append(stream_id, [DELTA] * 30)

    def change(number):
        return lambda session: StreamRepository(session).update_projection(stream_id, result_count=number)

    alone = StreamRepository().update_projection(stream_id, record_type="gene")
    assert await cost_of(alone, in_a_session(*map(change, range(5)))) == (1 + 5, 0, 0)
    assert await cost_of(Projector().catch_up(stream_id)) == (CAUGHT_UP, 1, 1)


async def test_an_event_of_a_unit_of_work_is_one_statement_and_is_appended_with_the_rest(stream_id, cost_of):
    unit = in_a_session(lambda session: Projector().append(stream_id, [MESSAGE] * 3, session=session))
    assert await cost_of(unit) == (1, 0, 0)
    caught_up = await cost_of(Projector().catch_up(stream_id))
    assert caught_up == (CAUGHT_UP + 1, 1, 3), "and what is appended is not kept any longer"


async def test_a_sync_of_200_strategies_is_logged_in_groups(user, cost_of):
    streams = StreamRepository()
    for step_count, statements, appended in ((1, 2, 200), (2, 2, 200), (2, 1, 0)):
        synced = streams.sync_wdk(user.id, "plasmodb", strategies(200, step_count))
        assert await cost_of(synced) == (statements, 0, 0)
        groups = -(-appended // TOGETHER)
        # Beside the catch-ups one looks for logs to remove, and for rows and events (a page of 200, and one after it),
        # and one asks which logs have marks.
        looking = 2 + bool(appended)
        assert await cost_of(ProjectionWorker().drain()) == (CAUGHT_UP * groups + looking, groups + 1, appended)


async def test_repositories_run_the_same_statements_with_and_without_a_log(settings, database_url):
    async def statements(chosen) -> list[str]:
        await init_db(settings=chosen)
        owner = await UserRepository().create()
        with recorded() as seen:
            stream = await conversation(owner)
            await StreamRepository().update_projection(stream, record_type="gene")
            await StreamRepository().dismiss(stream)
            await StreamRepository().sync_wdk(owner.id, "plasmodb", strategies(200, 1))
            await StreamRepository().delete(stream)
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
