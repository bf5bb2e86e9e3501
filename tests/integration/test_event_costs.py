"""What the event log costs: statements to PostgreSQL, round trips to Redis, and entries that are read."""

import re
from contextlib import contextmanager

import pytest

from tests.support.projections import DELTA, MESSAGE, logged
from tests.support.proxies import proxy
from tests.support.redis_servers import new_prefix
from tests.support.statements import recorded
from veupath_store import StreamRepository, async_session_factory
from veupath_store.config import StoreSettings
from veupath_store.events.entries import Event
from veupath_store.events.projector import Projector
from veupath_store.values import WdkStrategy

TURN = [
    *(Event(type="user_message", data={}), Event(type="assistant_message", data={})),
    *(Event(type="strategy_meta", data={"recordType": "gene"}), Event(type="model_selected", data={"modelId": "m"})),
    *(Event(type="graph_plan", data={"plan": {"root": {"id": str(n), "searchName": "s"}}}) for n in range(4)),
]
"""What changes the projection in a turn of a chat; all the rest are deltas."""

LOCK_AND_WRITE = 2
"""Statements beyond the change itself, whatever the number of conversations."""


@pytest.fixture
async def between(private_redis, tmp_path):
    async with proxy(private_redis.url, tmp_path) as between:
        yield between


@pytest.fixture
def settings(database_url, between):
    return logged(database_url, between.redis_url, new_prefix(), pool_max_size=1)


@pytest.fixture
async def stream_id(user):
    return (await StreamRepository().create(user.id, "plasmodb", name="one")).id


class Costs:
    """What was done inside a block."""

    statements: list[str]
    trips: int


@pytest.fixture
def costs(between):
    @contextmanager
    def costs():
        cost, before = Costs(), between.trips
        with recorded() as statements:
            yield cost
        cost.statements, cost.trips = statements.statements, between.trips - before

    return costs


class Calls:
    """How often Redis has carried out each command since the last question."""

    def __init__(self, private_redis) -> None:
        self._redis = private_redis
        self._before = self._count()

    def _count(self) -> dict[str, int]:
        with self._redis.client() as beside:
            stats = beside.info("commandstats")
        return {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}

    def since(self, *names: str) -> list[int]:
        before, self._before = self._before, self._count()
        return [self._before.get(name, 0) - before.get(name, 0) for name in names]


@pytest.fixture
def calls(private_redis):
    return Calls(private_redis)


def strategies(count: int, step_count: int) -> list[WdkStrategy]:
    return [WdkStrategy(wdk_strategy_id=n, name=f"strategy {n}", step_count=step_count) for n in range(count)]


async def test_appending_a_delta_asks_the_database_nothing_and_redis_once(stream_id, costs):
    for events in ([DELTA], [MESSAGE], [DELTA] * 50):
        with costs() as cost:
            await Projector().append(stream_id, events)
        assert (cost.statements, cost.trips) == ([], 1)


async def test_a_turn_of_200_events_costs_six_statements_when_it_is_caught_up(stream_id, costs):
    projector = Projector()
    with costs() as cost:
        for batch in range(20):
            await projector.append(
                stream_id, [DELTA] * 10 if batch % 5 else [*TURN[batch // 5 * 2 :][:2], *[DELTA] * 8]
            )
    assert (cost.statements, cost.trips) == ([], 20)
    with costs() as cost:
        done = await projector.catch_up(stream_id)
    assert done.events == 200
    # Two pages, of 64 entries and of the rest; for each where the row stands, its lock, and the write.
    assert len(cost.statements) == 6
    assert [sum(word in sql for sql in cost.statements) for word in ("FOR UPDATE", "UPDATE stream_projections")] == [
        2,
        2,
    ]
    assert cost.trips == 2
    projection = await StreamRepository().get_projection(stream_id)
    assert (projection.message_count, projection.model_id, projection.plan["root"]["id"]) == (2, "m", "3")


async def test_catching_up_what_is_caught_up_costs_one_read_and_one_round_trip(stream_id, costs):
    with costs() as cost:
        await Projector().catch_up(stream_id)
    assert (len(cost.statements), cost.trips) == (1, 1)


async def test_a_catch_up_of_a_few_events_costs_three_statements(stream_id, costs):
    await Projector().append(stream_id, TURN)
    with costs() as cost:
        await Projector().catch_up(stream_id)
    assert (len(cost.statements), cost.trips) == (3, 1)


async def test_a_unit_that_changes_one_conversation_costs_two_statements_and_one_round_trip_more(stream_id, costs):
    await Projector().append(stream_id, [DELTA] * 30)
    with costs() as cost:
        await StreamRepository().update_projection(stream_id, record_type="gene")
    assert (len(cost.statements), cost.trips) == (1 + LOCK_AND_WRITE, 1)
    with costs() as cost:
        async with async_session_factory() as session:
            for number in range(5):
                await StreamRepository(session).update_projection(stream_id, result_count=number)
    assert (len(cost.statements), cost.trips) == (5 + LOCK_AND_WRITE, 1)


async def test_a_unit_that_reads_asks_redis_nothing(stream_id, costs):
    with costs() as cost:
        async with async_session_factory() as session:
            await StreamRepository(session).get_projection(stream_id)
    assert (len(cost.statements), cost.trips) == (1, 0)


async def test_a_sync_of_200_strategies_costs_the_same_as_one_change(user, store, costs, calls):
    streams = StreamRepository()
    calls.since()
    with costs() as cost:
        await streams.sync_wdk(user.id, "plasmodb", strategies(200, 1))
    # One reads what is there. New ones are looked up among those whose old log is still to be removed.
    assert len(cost.statements) == 1 + 1 + LOCK_AND_WRITE + 1
    assert calls.since("exec", "xadd") == [1, 200]
    with costs() as cost:
        await streams.sync_wdk(user.id, "plasmodb", strategies(200, 2))
    assert len(cost.statements) == 1 + 1 + LOCK_AND_WRITE
    assert calls.since("exec", "xadd") == [1, 200]
    with costs() as cost:
        await streams.sync_wdk(user.id, "plasmodb", strategies(200, 2))
    assert len(cost.statements) == 1
    assert calls.since("exec", "xadd") == [0, 0], "nothing changed"


class TestWithoutALog:
    @pytest.fixture
    def settings(self, database_url):
        return StoreSettings(database_url=database_url)

    async def test_a_change_is_one_statement_and_a_sync_reads_first(self, user):
        with recorded() as statements:
            stream = await StreamRepository().create(user.id, "plasmodb", name="one")
            await StreamRepository().update_projection(stream.id, record_type="gene")
            await StreamRepository().dismiss(stream.id)
            await StreamRepository().sync_wdk(user.id, "plasmodb", strategies(200, 1))
            await StreamRepository().delete(stream.id)
        assert len(statements) == 6


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
    assert transferred(between) == list(range(1_000, 1_050))
    await projector.append(stream_id, numbered(1_050, 50))
    await projector.catch_up(stream_id)
    assert transferred(between) == list(range(1_050, 1_100))
    await projector.catch_up(stream_id)
    await projector.lag()
    assert transferred(between) == []


async def test_a_unit_reads_what_others_appended_once_however_much_it_is(stream_id, between):
    transferred(between)
    await Projector().append(stream_id, numbered(0, 2_600))
    await StreamRepository().update_projection(stream_id, record_type="gene")
    assert transferred(between) == list(range(2_600))
