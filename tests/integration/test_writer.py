"""The document writer: order, coalescing, bounds, conflicts, deletions; under faults, and at its end."""

import asyncio
import logging
import random
import threading
from uuid import uuid4

import pytest

from tests.support.documents import Failures, experiment, gene_set, save, stored
from tests.support.servers import until
from veupath_store import (
    DocumentWriter,
    ExperimentRepository,
    ExperimentSave,
    GeneSetRepository,
    GeneSetSave,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    StoreSettings,
    UserRepository,
    WriterFullError,
    async_session_factory,
    close_db,
    init_db,
)
from veupath_store.errors import StaleVersionError, StoreClosedError
from veupath_store.models import ExperimentRow


@pytest.mark.own_database
async def test_five_hundred_puts_on_twenty_documents_arrive_in_order_and_end_with_the_last(writer, user, failures):
    client = ExperimentRow._meta.db
    await client.execute_script(
        "CREATE TABLE arrived (place bigserial, id uuid, n integer);"
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO arrived (id, n) VALUES (NEW.id, (NEW.data ->> 'n')::int); RETURN NEW; END $$;"
        "CREATE TRIGGER note BEFORE INSERT OR UPDATE ON experiments FOR EACH ROW EXECUTE FUNCTION note()"
    )
    ids = [uuid4() for _ in range(20)]
    last = {}
    for number in range(500):
        identity = random.choice(ids)
        writer.put(save(user, identity, number))
        last[identity] = number
        if number % 7 == 0:
            await asyncio.sleep(random.random() / 200)
    await writer.flush()
    assert {identity: await stored(identity) for identity in last} == last
    rows = await client.execute_rows("SELECT id, array_agg(n ORDER BY place) AS n FROM arrived GROUP BY id")
    assert all(row["n"] == sorted(row["n"]) for row in rows)
    statistics = writer.statistics
    assert statistics.saved == sum(len(row["n"]) for row in rows)
    assert statistics.saved + statistics.replaced == 500
    assert statistics.replaced > 0
    assert (statistics.waiting, statistics.saving, statistics.failed, failures) == (0, 0, 0, [])


async def test_a_put_waits_for_nothing_and_takes_the_content_of_that_moment(writer, user):
    identity, document = uuid4(), {"n": [1]}
    writer.put(ExperimentSave(id=identity, **experiment(user, data=document)))
    document["n"].append(2)
    assert writer.statistics.waiting == 1
    await writer.flush()
    assert await stored(identity) == [1]


async def test_an_idle_writer_has_no_task_and_no_connection(writer, user, store):
    writer.put(save(user, uuid4()))
    await writer.flush()
    await asyncio.sleep(0)
    pool = (await store.open())._pool
    assert pool.get_idle_size() == pool.get_size()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "document writer"]


async def test_a_put_inside_a_session_is_not_undone_with_it(writer, user):
    identity = uuid4()
    with pytest.raises(ZeroDivisionError):
        async with async_session_factory():
            writer.put(save(user, identity, 5))
            await writer.flush()
            raise ZeroDivisionError
    assert await stored(identity) == 5


async def test_both_kinds_are_saved_and_known_documents_are_saved_on(writer, user, failures):
    identity = uuid4()
    for version in range(3):
        await ExperimentRepository().save(identity, **experiment(user), version=version)
        await GeneSetRepository().save(identity, **gene_set(user), version=version)
    writer.put(save(user, identity, 7))
    writer.put(GeneSetSave(id=identity, **gene_set(user, name="new")))
    await writer.flush()
    assert await stored(identity) == 7
    row = await GeneSetRepository().get_by_id(identity)
    assert (row.name, row.version, failures) == ("new", 4, [])
    for wrong in (None, {"id": identity}, ExperimentRow(id=identity)):
        with pytest.raises(InvalidInputError):
            writer.put(wrong)


async def test_a_full_writer_refuses_other_documents_and_still_replaces_known_ones(user, failures):
    async with DocumentWriter(max_waiting=3, on_failure=failures) as writer:
        ids = [uuid4() for _ in range(4)]
        for identity in ids[:3]:
            writer.put(save(user, identity, 1))
        with pytest.raises(WriterFullError):
            writer.put(save(user, ids[3], 1))
        writer.put(save(user, ids[0], 2))
        await writer.flush()
        assert [await stored(identity) for identity in ids] == [2, 1, 1, None]
        writer.put(save(user, ids[3], 3))
    assert await stored(ids[3]) == 3
    assert failures == []


async def test_other_threads_may_put(writer, user, failures):
    ids = [uuid4() for _ in range(4)]

    def work(identity):
        for number in range(50):
            writer.put(save(user, identity, number))

    threads = [threading.Thread(target=work, args=(identity,)) for identity in ids]
    for thread in threads:
        thread.start()
    await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
    await writer.flush()
    assert [await stored(identity) for identity in ids] == [49] * 4
    assert failures == []


async def test_a_conflict_is_reported_until_the_caller_has_read_again(writer, user, failures, caplog):
    identity, other = uuid4(), uuid4()
    writer.put(save(user, identity, 1))
    await writer.flush()
    await ExperimentRepository().save(identity, **experiment(user, data={"n": "theirs"}), version=1)
    with caplog.at_level(logging.ERROR, "veupath_store.writer"):
        for number in (2, 3):
            writer.put(save(user, identity, number))
            writer.put(save(user, other, number))
            await writer.flush()
    assert failures == [(identity, StaleVersionError)] * 2
    assert [failure.save.id for failure in writer.failures] == [identity] * 2
    assert writer.statistics.failed == len(caplog.records) == 2
    assert (await stored(identity), await stored(other)) == ("theirs", 3)
    row = await ExperimentRepository().get_by_id(identity)
    writer.discard(identity)
    writer.put(save(user, identity, 4), version=row.version)
    await writer.flush()
    assert (await stored(identity), len(failures)) == (4, 2)


async def test_an_error_in_on_failure_stops_nothing(user, caplog):
    def broken(document, error):
        raise ZeroDivisionError

    async with DocumentWriter(on_failure=broken) as writer:
        with caplog.at_level(logging.CRITICAL, "veupath_store.writer"):
            writer.put(save(user, uuid4()), version=5)
            await writer.flush()
        identity = uuid4()
        writer.put(save(user, identity, 1))
        await writer.flush()
        assert await stored(identity) == 1


async def test_a_deleted_document_never_comes_back_and_its_late_saves_are_no_failures(writer, user, failures):
    mine, ids = ExperimentRepository().for_user(user.id), [uuid4() for _ in range(60)]

    async def live_and_die(identity):
        writer.put(save(user, identity, 1))
        await asyncio.sleep(random.random() / 50)
        writer.put(save(user, identity, 2))
        await asyncio.sleep(random.random() / 50)
        writer.discard(identity)
        await mine.delete(identity)

    await asyncio.gather(*(live_and_die(identity) for identity in ids))
    await writer.flush()
    assert await mine.get_many(ids, user_id=user.id) == []
    assert failures == []
    writer.put(save(user, ids[0], 3))
    await writer.flush()
    assert failures == [(ids[0], NotFoundError)]
    assert await mine.get_many(ids, user_id=user.id) == []


async def test_a_deletion_follows_the_saves_before_it_and_refuses_those_after_it(user, failures):
    async with DocumentWriter(on_failure=failures, parallel=1) as writer:
        identity, other = uuid4(), uuid4()
        writer.put(save(user, identity, 1))
        await writer.flush()
        writer.put(save(user, identity, 2))
        writer.delete(ExperimentSave, identity, user.id)
        with pytest.raises(NotFoundError):
            writer.put(save(user, identity, 3))
        writer.put(GeneSetSave(id=other, **gene_set(user)))
        await writer.flush()
        assert await stored(identity) is None
        writer.put(save(user, identity, 4))
        writer.delete(GeneSetSave, str(other), str(user.id))
        await writer.flush()
        assert await GeneSetRepository().get_by_id(other) is None
        assert writer.statistics.replaced == 1, "the save that waited for the same document"
    assert failures == [(identity, NotFoundError)]
    assert await stored(identity) is None


async def test_a_deletion_is_the_owners_alone_and_closes_an_id_that_was_never_saved(writer, user, failures):
    theirs, unsaved = uuid4(), uuid4()
    other = await UserRepository().create()
    writer.put(save(other, theirs, 1))
    await writer.flush()
    writer.delete(ExperimentSave, theirs, user.id)
    writer.delete(ExperimentSave, unsaved, user.id)
    await writer.flush()
    assert await stored(theirs) == 1
    with pytest.raises(NotFoundError):
        await ExperimentRepository().write(save(user, unsaved, 1), version=0)
    with pytest.raises(InvalidInputError):
        writer.delete(dict, unsaved, user.id)


# Faults, and the end: what was put is saved, or reported.


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
    await until(lambda: bool(lost), 20, "the answer is lost")
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
async def test_an_outage_is_waited_for_and_one_beyond_the_close_timeout_is_told(private_server, private_url, caplog):
    settings = StoreSettings(database_url=private_url, close_timeout=0.7, acquire_timeout=0.5)
    await init_db(settings=settings)
    failures, ids = Failures(), [uuid4() for _ in range(6)]
    user = await UserRepository().create()
    writer = DocumentWriter(on_failure=failures)

    with caplog.at_level(logging.ERROR, "veupath_store.writer"):
        private_server.crash()
        for identity in ids[:3]:
            writer.put(save(user, identity, 1))
        await until(lambda: writer.statistics.retried > 2, 20, "tries")
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
        await until(lambda: writer.statistics.saving == 1, 20, "a save under way")
        writer.put(save(user, identity, 3))
        await asyncio.sleep(0.1)
        # As asyncio.run does at its end, when nobody called close_db.
        for task in asyncio.all_tasks():
            if task.get_name() == "document writer":
                task.cancel()
        await writer.flush()
    assert failures == [(identity, OutcomeUnknownError), (identity, StoreClosedError)]
    await writer.close()
