"""Units of work that end at the worst moment: killed, cut off, refused, cancelled; and what row and log hold then."""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter
from uuid import UUID, uuid4

import pytest

from tests.support import faults
from tests.support.projections import MESSAGE, Logs, columns_of, logged, row_of, rows_of
from tests.support.servers import until
from veupath_store import StreamRepository, UserRepository, async_session_factory, close_db, init_db
from veupath_store.engine.transaction import StoreTransaction
from veupath_store.errors import ConflictError, NotFoundError, OutcomeUnknownError, UnavailableError
from veupath_store.events.log import EventLog
from veupath_store.events.projector import Projector
from veupath_store.values import LagState, RebuildOutcome, VerifyOutcome

TIMEOUT = 0.5
CANCELLATIONS = 2_000
AT_ONCE = 16
SEED = 20_261_125


@pytest.fixture
def settings(database_url, redis_url, log_prefix):
    return logged(database_url, redis_url, log_prefix, pool_max_size=20)


@pytest.fixture
def logs(redis_url, log_prefix):
    logs = Logs(redis_url, log_prefix)
    yield logs
    logs.close()


@pytest.fixture(scope="module")
def private_url(private_server):
    return private_server.server.url(faults.make_template(private_server.server))


async def new_stream(user, name="one") -> UUID:
    return (await StreamRepository().create(user.id, "plasmodb", name=name)).id


class Crash:
    """Units of work in another process, which is killed when each of them has come to its point."""

    def __init__(self, user, watcher, *arguments: str) -> None:
        self._user = user
        self._watcher = watcher
        self._arguments = arguments

    async def __call__(self, **points: list[UUID]) -> None:
        others = set(await faults.pids(self._watcher))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.stopping", *self._arguments, str(self._user.id)),
            *(f"{stream_id}={point.replace('_', ' ')}" for point, ids in points.items() for stream_id in ids),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(30):
                assert await process.stdout.readline() == b"stopped\n"
        finally:
            process.kill()
            await process.wait()

        async def gone() -> bool:
            return set(await faults.pids(self._watcher)) <= others

        await until(gone, 5, "the killed process's backends have ended")


@pytest.fixture
def crash(user, watcher, database_url, redis_url, log_prefix):
    return Crash(user, watcher, database_url, redis_url, log_prefix)


async def test_a_process_killed_at_any_point_of_a_unit_leaves_row_and_log_agreeing(crash, user, watcher, logs):
    """All points at once, and after each everything that may come next: in one process, because it takes a second."""
    projector = Projector()
    names = (
        *("before", "caught_up", "next_unit", "message", "rebuilt", "wiped", "verified", "late"),
        *("after", "created", "created_again"),
    )
    ids = {name: await new_stream(user, name) for name in names if not name.startswith("created")}
    ids |= {"created": uuid4(), "created_again": uuid4()}
    whole = {name: logs.entries(stream_id) for name, stream_id in ids.items()}
    rows = await rows_of(watcher)
    orphaned = ("caught_up", "next_unit", "message", "rebuilt", "wiped", "verified")
    await crash(
        before_the_append=[ids["before"]],
        after_the_append=[ids[name] for name in orphaned],
        before_COMMIT=[ids["late"]],
        after_COMMIT=[ids["after"]],
        create_after_the_append=[ids["created"], ids["created_again"]],
    )
    after = rows.pop(ids["after"])
    assert {stream_id: row for stream_id, row in (await rows_of(watcher)).items() if stream_id != ids["after"]} == rows
    assert await row_of(watcher, ids["after"]) != after
    assert logs.entries(ids["before"]) == whole["before"]
    for name in (*orphaned, "late"):
        assert len(logs.entries(ids[name])) == len(whole[name]) + 1, "the orphan is there"

    # What looks only up to the row's position does not see it; what looks further says that something is there.
    assert (await projector.verify(stream_id=ids["verified"])).counts == {VerifyOutcome.EQUAL: 1}
    assert (await projector.lag(stream_id=ids["verified"])).lagging[0].state is LagState.BEHIND

    for name in ("caught_up", "late", "verified"):
        done = await projector.catch_up(ids[name])
        assert (done.events, done.problems) == (0, ())
        assert logs.entries(ids[name]) == whole[name]
    await StreamRepository().dismiss(ids["next_unit"])
    assert logs.entries(ids["next_unit"])[:-1] == whole["next_unit"]
    await projector.append(ids["message"], [MESSAGE])
    assert (await projector.catch_up(ids["message"])).events == 1
    assert logs.entries(ids["message"])[:-1] == whole["message"]
    assert (await columns_of(watcher, ids["message"]))["name"] == "message"
    assert (await projector.rebuild(stream_id=ids["rebuilt"])).counts == {RebuildOutcome.REBUILT: 1}
    await watcher.execute("DELETE FROM stream_projections WHERE stream_id = $1", ids["wiped"])
    assert (await projector.rebuild(stream_id=ids["wiped"])).counts == {RebuildOutcome.REBUILT: 1}
    for name in ("caught_up", "late", "verified", "rebuilt", "wiped"):
        assert logs.entries(ids[name]) == whole[name], name
        assert await row_of(watcher, ids[name]) == rows[ids[name]], name

    # The conversation that never was: its log is nobody's, and another one under its id does not inherit it.
    with pytest.raises(NotFoundError):
        await projector.catch_up(ids["created"])
    await StreamRepository().create(user.id, "plasmodb", stream_id=ids["created_again"], name="mine")
    assert [json.loads(entry.raw)["name"] for entry in logs.entries(ids["created_again"])] == ["mine"]

    await logs.assert_explain(watcher)
    assert set((await projector.verify()).counts) == {VerifyOutcome.EQUAL}
    assert set((await projector.lag()).counts) == {LagState.CURRENT}


async def test_a_backend_that_is_ended_between_append_and_commit_takes_its_events_back_at_once(
    user, watcher, logs, monkeypatch
):
    stream_id = await new_stream(user)
    row, positions = await row_of(watcher, stream_id), logs.positions(stream_id)
    exchange = EventLog.exchange

    async def then_killed(self, parts):
        answers = await exchange(self, parts)
        await faults.kill_backends(watcher)
        return answers

    with monkeypatch.context() as patched, pytest.raises(UnavailableError, match="Nothing was saved"):
        patched.setattr(EventLog, "exchange", then_killed)
        await StreamRepository().update_projection(stream_id, name="never")
    assert logs.positions(stream_id) == positions
    assert await row_of(watcher, stream_id) == row
    await faults.assert_pool_whole()


async def test_an_error_in_the_block_appends_nothing(user, watcher, logs):
    stream_id = await new_stream(user)
    row, positions = await row_of(watcher, stream_id), logs.positions(stream_id)
    with pytest.raises(LookupError):
        async with async_session_factory() as session:
            await StreamRepository(session).update_projection(stream_id, name="never")
            await session.rollback()
            await StreamRepository(session).update_projection(stream_id, name="never")
            with contextlib.suppress(LookupError):
                async with session.savepoint():
                    await StreamRepository(session).dismiss(stream_id)
                    raise LookupError
            raise LookupError
    assert logs.positions(stream_id) == positions
    assert await row_of(watcher, stream_id) == row


@pytest.mark.parametrize("half_way", [False, True])
async def test_a_commit_that_the_server_refuses_takes_its_events_back_at_once(half_way, user, watcher, logs):
    await faults.check_at_commit(watcher)
    stream_id = await new_stream(user)
    row, positions = await row_of(watcher, stream_id), logs.positions(stream_id)
    with pytest.raises(ConflictError):
        async with async_session_factory() as session:
            await StreamRepository(session).update_projection(stream_id, name="never")
            await UserRepository(session).create("refused")
            if half_way:
                await session.commit()
    assert logs.positions(stream_id) == positions
    assert await row_of(watcher, stream_id) == row
    await StreamRepository().update_projection(stream_id, name="later")
    await logs.assert_explain(watcher)


async def test_of_a_commit_that_is_lost_in_flight_row_and_log_agree_whether_it_was_saved_or_not(
    user, watcher, logs, monkeypatch
):
    await faults.check_at_commit(watcher)
    lost, saved, projector = await new_stream(user, "lost"), await new_stream(user, "saved"), Projector()

    async def slow() -> None:
        async with async_session_factory() as session:
            await StreamRepository(session).update_projection(lost, name="never")
            await UserRepository(session).create("slow")

    task = asyncio.create_task(slow())
    await until(lambda: faults.committing(watcher), 5, "COMMIT is under way")
    await faults.kill_backends(watcher)
    with pytest.raises(OutcomeUnknownError):
        await task

    commit = StoreTransaction.commit

    async def answer_lost(self):
        await commit(self)
        if not self._savepoint:
            raise OutcomeUnknownError

    with monkeypatch.context() as patched, pytest.raises(OutcomeUnknownError):
        patched.setattr(StoreTransaction, "commit", answer_lost)
        await StreamRepository().update_projection(saved, name="renamed")

    # Nothing was taken back: nobody knew. Whoever comes next finds out.
    assert len(logs.entries(lost)) == len(logs.entries(saved)) == 2
    for stream_id in (lost, saved):
        await projector.catch_up(stream_id)
    assert (await columns_of(watcher, lost))["name"] == "lost"
    assert (await columns_of(watcher, saved))["name"] == "renamed"
    assert (len(logs.entries(lost)), len(logs.entries(saved))) == (1, 2)
    await logs.assert_explain(watcher)


class Units:
    """Units of work of several kinds on conversations of their own, and what was acknowledged of them.

    Each conversation's `result_count` counts its units, so that an acknowledged one that is lost is seen.
    """

    def __init__(self, user) -> None:
        self._user = user
        self.saved: Counter[UUID] = Counter()
        self.tried: Counter[UUID] = Counter()
        self.messages: Counter[UUID] = Counter()
        self.projector = Projector()

    async def one(self, stream_id: UUID, number: int) -> None:
        self.tried[stream_id] = number
        await self.kinds[number % len(self.kinds)](self, stream_id, number)
        self.saved[stream_id] = number

    async def attempt(self, stream_id: UUID, number: int) -> str:
        """One, while a server may be down."""
        try:
            await self.one(stream_id, number)
        except (UnavailableError, OutcomeUnknownError):
            await asyncio.sleep(0.01)
            return "refused"
        return "saved"

    async def _direct(self, stream_id: UUID, number: int) -> None:
        await StreamRepository().update_projection(stream_id, result_count=number, name=f"name {number % 7}")

    async def _session(self, stream_id: UUID, number: int) -> None:
        async with async_session_factory() as session:
            streams = StreamRepository(session)
            await streams.claim_wdk_strategy(stream_id, number % 10)
            async with session.savepoint():
                await streams.update_projection(stream_id, result_count=number)

    async def _new(self, stream_id: UUID, number: int) -> None:
        async with async_session_factory() as session:
            await StreamRepository(session).create(self._user.id, "plasmodb", name="made")
            await StreamRepository(session).update_projection(stream_id, result_count=number)

    async def _message(self, stream_id: UUID, number: int) -> None:
        await self.projector.append(stream_id, [MESSAGE])
        self.messages[stream_id] += 1
        await self.projector.catch_up(stream_id)
        await StreamRepository().update_projection(stream_id, result_count=number)

    kinds = (_direct, _session, _new, _message)

    async def assert_kept(self, connection, logs: Logs) -> None:
        """Nothing that was acknowledged is lost, and every row is what its log says."""
        streams = await connection.fetch("SELECT stream_id FROM stream_projections")
        for row in streams:
            await self.projector.catch_up(row["stream_id"])
        await logs.assert_explain(connection)
        report = await self.projector.verify()
        assert report.counts == {VerifyOutcome.EQUAL: len(streams)}, report.suspects
        for stream_id, tried in self.tried.items():
            columns = await columns_of(connection, stream_id)
            assert self.saved[stream_id] <= (columns["result_count"] or 0) <= tried
            assert columns["message_count"] >= self.messages[stream_id]


async def test_2000_random_cancellations_of_units_with_a_log_lose_nothing_and_leave_the_pool_whole(user, watcher, logs):
    dice, units = random.Random(SEED), Units(user)
    streams = [await new_stream(user) for _ in range(AT_ONCE)]
    rounds, cut = iter(range(CANCELLATIONS)), Counter()

    async def torment(stream_id: UUID) -> None:
        for number, _ in enumerate(rounds, 1):
            task = asyncio.create_task(units.one(stream_id, number))
            if number % 10:  # every tenth is left to its end, on however busy a machine
                await asyncio.sleep(dice.choice((0, dice.random() * 0.01, dice.random() * 0.1)))
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                assert task.exception() is None, "a cancelled task ends as cancelled, or well"
            cut[task.cancelled()] += 1

    await asyncio.gather(*map(torment, streams))
    assert min(cut.values()) > CANCELLATIONS / 20, cut
    await faults.assert_pool_whole()

    async def none_idle() -> bool:
        return await faults.idle_in_transaction(watcher) == 0

    await until(none_idle, 1, "no backend idle in transaction")
    await units.assert_kept(watcher, logs)


@pytest.mark.large
class TestOnItsOwnRedis:
    """A Redis that is killed or frozen under the store."""

    @pytest.fixture
    def settings(self, database_url, private_redis):
        return logged(database_url, private_redis.url, f"{uuid4()}:", log_timeout=TIMEOUT)

    @pytest.fixture
    def logs(self, settings, private_redis):
        logs = Logs(private_redis.url, settings.log_prefix)
        yield logs
        logs.close()

    @pytest.mark.parametrize("how", ["down", "frozen"])
    async def test_without_redis_nothing_is_saved_and_the_unit_says_so_in_time(
        self, how, user, watcher, logs, private_redis
    ):
        stream_id, projector = await new_stream(user), Projector()
        row = await row_of(watcher, stream_id)
        with getattr(private_redis, how)():
            started = time.monotonic()
            with pytest.raises(UnavailableError):
                await StreamRepository().update_projection(stream_id, name="never")
            with pytest.raises(UnavailableError):
                await StreamRepository().create(user.id, "plasmodb", name="never")
            with pytest.raises(UnavailableError):
                await projector.catch_up(stream_id)
            with pytest.raises((UnavailableError, OutcomeUnknownError)):
                await projector.append(stream_id, [MESSAGE])
            # Two of them also try to take back what the server may have seen.
            assert time.monotonic() - started < TIMEOUT * 8
            assert await rows_of(watcher) == {stream_id: row}
            await faults.assert_pool_whole()
        await asyncio.sleep(0.1)  # what a frozen server holds in its hands is in the log now
        await projector.catch_up(stream_id)
        columns = await columns_of(watcher, stream_id)
        assert columns["name"] == "one"
        await logs.assert_explain(watcher)
        assert len(logs.entries(stream_id)) == 1 + columns["message_count"]

    async def test_while_redis_is_killed_and_restarted_no_acknowledged_unit_is_lost(
        self, user, watcher, logs, private_redis
    ):
        units, going = Units(user), True
        streams = [await new_stream(user) for _ in range(8)]
        fates = Counter()

        async def work(stream_id: UUID) -> None:
            number = 0
            while going:
                number += 1
                fates[await units.attempt(stream_id, number)] += 1

        tasks = [asyncio.create_task(work(stream_id)) for stream_id in streams]
        for _ in range(3):
            await asyncio.sleep(0.5)
            with private_redis.down():
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        going = False
        await asyncio.gather(*tasks)
        assert min(fates["saved"], fates["refused"]) > 20, fates
        await faults.assert_pool_whole()
        await units.assert_kept(watcher, logs)


@pytest.mark.large
class TestOnItsOwnPostgres:
    """A PostgreSQL that is killed under the store, with units of work between append and COMMIT."""

    @pytest.fixture
    async def store(self, private_url, redis_url, log_prefix):
        engine = await init_db(settings=logged(private_url, redis_url, log_prefix))
        yield engine
        await close_db()

    async def test_immediate_restarts_lose_no_acknowledged_unit_and_keep_no_other(
        self, user, private_server, private_url, logs
    ):
        units, going = Units(user), True
        streams = [await new_stream(user) for _ in range(8)]
        fates = Counter()

        async def work(stream_id: UUID) -> None:
            number = 0
            while going:
                number += 1
                fates[await units.attempt(stream_id, number)] += 1

        tasks = [asyncio.create_task(work(stream_id)) for stream_id in streams]
        for _ in range(3):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(private_server.crash)
            await asyncio.to_thread(private_server.start)
        await asyncio.sleep(0.7)
        going = False
        await asyncio.gather(*tasks)
        assert min(fates["saved"], fates["refused"]) > 20, fates
        await faults.assert_pool_whole()
        connection = await faults.watcher(private_url)
        await units.assert_kept(connection, logs)
        await connection.close()
