"""The document writer under faults, and at its end: what was put is saved, or reported."""

import asyncio
import logging
import threading
from uuid import uuid4

import pytest

from tests.support.documents import Failures, experiment, save, stored
from tests.support.servers import until
from veupath_store import (
    DocumentWriter,
    ExperimentRepository,
    OutcomeUnknownError,
    StoreSettings,
    UserRepository,
    async_session_factory,
    close_db,
    init_db,
)
from veupath_store.errors import StaleVersionError, StoreClosedError


async def test_killed_backends_lose_nothing_that_was_put(writer, user, store, server, failures):
    database = store.settings.target.database
    ids, last, done = [uuid4() for _ in range(10)], {}, asyncio.Event()

    async def killer():
        connection = await server.connect()
        while not done.is_set():
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database
            )
            await asyncio.sleep(0.03)
        await connection.close()

    killing = asyncio.create_task(killer())
    for number in range(400):
        identity = ids[number % 10]
        writer.put(save(user, identity, number))
        last[identity] = number
        await asyncio.sleep(0.002)
    done.set()
    await killing
    await writer.flush()
    rows = await ExperimentRepository().get_many(ids, user_id=user.id)
    assert {row.id: row.data["n"] for row in rows} == last
    statistics = writer.statistics
    # Each acknowledged save is one version: none was counted twice, none was lost.
    assert sum(row.version for row in rows) == statistics.saved
    assert statistics.retried > 0
    assert failures == []


@pytest.mark.parametrize("overwritten", [False, True])
async def test_a_save_whose_answer_was_lost_is_settled_by_reading_back(
    writer, user, failures, monkeypatch, overwritten
):
    write, lost = ExperimentRepository.write, []
    identity = uuid4()

    async def write_and_lose_the_answer(self, document, *, version=0):
        new = await write(self, document, version=version)
        if not lost:
            lost.append(new)
            if overwritten:
                await write(self, save(user, identity, 9), version=new)
            raise OutcomeUnknownError("lost")
        return new

    monkeypatch.setattr(ExperimentRepository, "write", write_and_lose_the_answer)
    writer.put(save(user, identity, 1))
    await until(lambda: asyncio.sleep(0, bool(lost)), 20, "the answer is lost")
    writer.put(save(user, identity, 2))
    await writer.flush()
    if overwritten:
        # Whether the first was saved cannot be told any more, and the second would hide somebody else's change.
        assert failures == [(identity, StaleVersionError)] * 2
        assert await stored(identity) == 9
    else:
        assert failures == []
        assert await stored(identity) == 2
        assert await ExperimentRepository().get_version(identity, user_id=user.id) == 2


async def test_close_db_drains_every_writer(settings):
    await init_db(settings=settings)
    user = await UserRepository().create()
    writers, ids = [DocumentWriter(), DocumentWriter()], [uuid4() for _ in range(100)]
    for number, identity in enumerate(ids):
        writers[number % 2].put(save(user, identity, number))
    await asyncio.gather(close_db(), close_db())
    for writer in writers:
        assert writer.statistics.is_closed
        assert (writer.statistics.saved, writer.statistics.failed) == (50, 0)
        with pytest.raises(StoreClosedError):
            writer.put(save(user, ids[0]))
        await writer.close()
    await init_db(settings=settings)
    assert [await stored(identity) for identity in ids] == list(range(100))
    await close_db()


@pytest.mark.own_database
async def test_a_writer_that_is_made_before_the_loop_keeps_what_it_is_given_until_the_store_is_opened(
    database_url, user
):
    """In a thread, which has no event loop but those that it runs."""
    identity, other = uuid4(), uuid4()
    settings = StoreSettings(database_url=database_url)
    await close_db()

    async def opened(writer):
        await init_db(settings=settings)
        await writer.flush()
        found = [await stored(identity), await stored(other)]
        writer.put(save(user, identity, 4))
        await close_db()
        return found

    def script():
        writer = DocumentWriter()
        writer.put(save(user, identity, 1))
        writer.put(save(user, identity, 2))
        beside = threading.Thread(target=writer.put, args=(save(user, other, 3),))
        beside.start()
        beside.join()
        return asyncio.run(opened(writer)), writer.statistics

    found, statistics = await asyncio.to_thread(script)
    assert found == [2, 3]
    assert (statistics.saved, statistics.replaced, statistics.is_closed) == (3, 1, True)
    await init_db(settings=settings)
    assert await stored(identity) == 4


@pytest.mark.large
async def test_an_outage_is_waited_for_and_one_beyond_the_close_timeout_is_reported(private_server, make_store, caplog):
    async with private_server.server.database() as url:
        await make_store(url)
        settings = StoreSettings(database_url=url, close_timeout=0.7, acquire_timeout=0.5)
        await init_db(settings=settings)
        failures, ids = Failures(), [uuid4() for _ in range(6)]
        user = await UserRepository().create()
        writer = DocumentWriter(on_failure=failures)

        with caplog.at_level(logging.ERROR, "veupath_store.writer"):
            private_server.crash()
            for identity in ids[:3]:
                writer.put(save(user, identity, 1))
            await until(lambda: asyncio.sleep(0, writer.statistics.retried > 2), 20, "tries")
            for identity in ids[:3]:
                writer.put(save(user, identity, 2))
            await asyncio.to_thread(private_server.start)
            await writer.flush()
            assert [await stored(identity) for identity in ids[:3]] == [2, 2, 2]
            assert failures == []

            private_server.crash()
            for identity in ids:
                writer.put(save(user, identity, 3))
            await asyncio.wait_for(close_db(), 20)
            # Where the connection broke under a save, nobody can tell whether it arrived.
            assert {identity for identity, _ in failures} == set(ids)
            assert {error for _, error in failures} <= {StoreClosedError, OutcomeUnknownError}
            assert (writer.statistics.failed, len(caplog.records)) == (6, 6)
            assert writer.statistics.waiting == writer.statistics.saving == 0

        await asyncio.to_thread(private_server.start)
        await init_db(settings=settings)
        assert [await stored(identity) for identity in ids] == [2, 2, 2, None, None, None]
        await close_db()


async def test_a_writer_whose_tasks_are_cancelled_from_outside_reports_what_it_had(user, failures):
    identity, writer = uuid4(), DocumentWriter(on_failure=failures)
    await ExperimentRepository().save(identity, **experiment(user))
    async with async_session_factory() as session:
        # The first save waits for this transaction's row lock, the second one for its turn.
        await ExperimentRepository(session).patch_field(identity, "n", 1)
        writer.put(save(user, identity, 2), version=1)
        await until(lambda: asyncio.sleep(0, writer.statistics.saving == 1), 20, "a save under way")
        writer.put(save(user, identity, 3))
        await asyncio.sleep(0.1)
        # As asyncio.run does at its end, when nobody called close_db.
        for task in asyncio.all_tasks():
            if task.get_name() == "document writer":
                task.cancel()
        await writer.flush()
    assert failures == [(identity, OutcomeUnknownError), (identity, StoreClosedError)]
    await writer.close()
