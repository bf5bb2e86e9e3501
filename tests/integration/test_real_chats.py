"""The real strategies, played as chats on their event logs, and read back from the table that follows them."""

import asyncio
import json

import pytest

from tests.support import chat as chats
from tests.support.naive_fold import naive_fold
from tests.support.projections import DOCUMENTS, OF_THE_ROW_ALONE, at_rest
from tests.support.redis_servers import client
from tests.support.servers import until
from veupath_store import (
    GeneSetRepository,
    LogReader,
    StoreSettings,
    StreamRepository,
    UserRepository,
    async_session_factory,
    close_db,
    init_db,
)
from veupath_store.events.log.entries import Event, LogKey
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.values import LagState, RebuildOutcome, VerifyOutcome

PRODUCERS = 6
COLUMNS = "SELECT * FROM stream_projections ORDER BY stream_id"

pytestmark = pytest.mark.with_log


@pytest.fixture
def unlogged(database_url):
    return StoreSettings(database_url=database_url)


async def rows_of(watcher):
    rows = map(dict, await watcher.fetch(COLUMNS))
    return {row["stream_id"]: {name: row[name] for name in row if name not in OF_THE_ROW_ALONE} for row in rows}


async def started(user, chat):
    return (await StreamRepository().create(user.id, chat.site_id)).id


async def play(played):
    """Several producers, each with some of the chats, all of them batch by batch and at once."""
    projector = Projector()

    async def produce(mine):
        turns = [(stream_id, list(chat.batches)) for stream_id, chat in mine]
        while any(batches for _, batches in turns):
            for stream_id, batches in turns:
                if batches:
                    await projector.append(stream_id, batches.pop(0))

    pairs = list(played.items())
    await asyncio.gather(*(produce(pairs[number::PRODUCERS]) for number in range(PRODUCERS)))


async def worked(work):
    """Do it beside one worker, and wait until that has caught up with all."""
    worker = ProjectionWorker(poll_seconds=0.01)
    running = asyncio.ensure_future(worker.run())

    async def all_current():
        counts = (await Projector().lag()).counts
        return set(counts) == {LagState.CURRENT} and (await worker.log.backlog()).count == 0

    try:
        result = await work
        await until(all_current, within=60, what="the worker has caught up")
    finally:
        worker.stop()
        await running
    return result


async def wiped(watcher):
    await watcher.execute("DELETE FROM stream_projections")


async def rebuilt_equal(watcher, streams):
    """Wipe the table, rebuild it, and compare every column of every row that a log says."""
    await at_rest()
    verified = await Projector().verify()
    assert verified.counts == {VerifyOutcome.EQUAL: streams}, verified.suspects
    before = await rows_of(watcher)
    for stream_id, row in before.items():
        await says_the_same(stream_id, row)
    await wiped(watcher)
    report = await Projector().rebuild()
    assert report.counts == {RebuildOutcome.REBUILT: streams}
    assert not report.problems
    assert await rows_of(watcher) == before
    assert len(before) == streams


async def says_the_same(stream_id, row):
    """Whether a row is what its log says when that is folded as plainly as can be, by nothing of the package's."""
    said = naive_fold(await Projector().log.read(LogKey.stream(stream_id), count=100_000))
    assert said.pop("begun")
    for document in DOCUMENTS:
        assert said.pop(document) == json.loads(row[document] or "null")
    if row["gene_set_id"] is None:
        said["gene_set_id"] = None  # it may have been deleted since
    assert said == {column: row[column] for column in said}


async def holds(found, chat):
    assert found.plan == chat.plan
    nodes = walked(chat.plan["root"])
    assert [step["id"] for step in found.steps] == [node["id"] for node in nodes]
    assert [step.get("parameters") for step in found.steps] == [node.get("parameters") for node in nodes]
    assert found.root_step_id == chat.plan["root"]["id"]
    assert found.step_count == chat.steps == len(nodes)
    assert found.message_count == chat.messages
    assert found.record_type == chat.record_type
    assert found.model_id == chats.MODEL


def walked(node):
    if node is None:
        return []
    return [*walked(node.get("primaryInput")), *walked(node.get("secondaryInput")), node]


def searches_only(node):
    """A tree without what flat steps add: the search name of combinations."""
    inputs = {key: searches_only(node[key]) for key in ("primaryInput", "secondaryInput") if key in node}
    return {key: value for key, value in {**node, **inputs}.items() if value != chats.COMBINE}


async def played_by(users, strategies):
    """Each user plays each strategy; the first one plays some of them twice, so that names and WDK ids collide."""
    played = {}
    for user in users:
        for number, strategy in enumerate(strategies):
            chat = chats.chat_of(strategy, wdk_strategy_id=1_000 + number)
            played[await started(user, chat)] = chat
    twice = {}
    for number, strategy in enumerate(strategies[::6]):
        chat = chats.chat_of(strategy, wdk_strategy_id=1_000 + 6 * number)
        twice[await started(users[0], chat)] = chat
    return played, twice


@pytest.mark.large
async def test_chats_of_two_users_come_back_as_the_strategies_that_they_made(user, stranger, strategies, watcher):
    played, twice = await played_by([user, stranger], strategies)
    await worked(play({**played, **twice}))
    rows = await rows_of(watcher)

    for stream_id, chat in {**played, **twice}.items():
        found = await StreamRepository().get_projection(stream_id)
        await holds(found, chat)
        assert found.name == chat.name or found.name.startswith(f"{chat.name} (")
    originals = [strategy["plan"] for strategy in strategies] * 2
    for stream_id, original in zip(played, originals, strict=True):
        plan = (await StreamRepository().get_projection(stream_id)).plan
        assert {**plan, "root": searches_only(plan["root"])} == original

    places = [(row["user_id"], row["site_id"], row["name"]) for row in rows.values()]
    assert len(set(places)) == len(places)
    for owner in (user, stranger):
        linked = [row for row in rows.values() if row["user_id"] == owner.id and row["wdk_strategy_id"] is not None]
        assert sorted(row["wdk_strategy_id"] for row in linked) == [1_000 + number for number in range(len(strategies))]
        assert all(row["is_saved"] for row in linked)
    assert sum(row["wdk_strategy_id"] is None for row in rows.values()) == len(twice)

    await rebuilt_equal(watcher, len(rows))


GENES = ["PF3D7_0100100", "PF3D7_0709000"]


async def rename(stream_id, _number):
    await StreamRepository().update_projection(stream_id, name=("Ñame 🧬 中 " * 40)[:255])


async def dismiss(stream_id, _number):
    await StreamRepository().dismiss(stream_id)


async def dismiss_and_restore(stream_id, _number):
    await StreamRepository().dismiss(stream_id)
    await StreamRepository().restore(stream_id)


async def import_genes(stream_id, number):
    await GeneSetRepository().import_for_stream(
        stream_id, name=f"Imported {number} 🧬", gene_ids=GENES, automatic=bool(number % 2)
    )


async def claim(stream_id, number):
    await StreamRepository().claim_wdk_strategy(stream_id, 90_000 + number, is_saved=True)


async def several(stream_id, number):
    """Several changes in one unit of work."""
    async with async_session_factory() as session:
        repository = StreamRepository(session)
        await repository.update_projection(stream_id, name="Renamed", record_type="gene")
        await repository.update_projection(stream_id, result_count=number)
        await GeneSetRepository(session).import_for_stream(stream_id, name=f"Both {number}", gene_ids=GENES)


USES = (rename, dismiss, dismiss_and_restore, import_genes, claim, several)


def use_of(number, shift=0):
    return USES[(number + shift) % len(USES)]


async def used(ids, shift=0):
    """What users do while their chats are played, and afterwards: each time something else with each chat."""
    for number, stream_id in enumerate(ids):
        await use_of(number, shift)(stream_id, number)


@pytest.mark.large
async def test_chats_that_users_rename_dismiss_restore_and_import_from_are_rebuilt_equal(
    user, stranger, strategies, watcher
):
    played, twice = await played_by([user, stranger], strategies)
    ids = list(played)

    async def both():
        await asyncio.gather(play({**played, **twice}), used(ids))

    await worked(both())
    rows = await rows_of(watcher)
    for number, (stream_id, chat) in enumerate(played.items()):
        plan = json.loads(rows[stream_id]["plan"])
        restored_last = use_of(number) is dismiss_and_restore and plan == {}
        assert restored_last or plan == chat.plan
    await rebuilt_equal(watcher, len(played) + len(twice))

    await used(ids, shift=1)
    rows = await rows_of(watcher)
    for number, stream_id in enumerate(ids):
        row = rows[stream_id]
        assert (row["dismissed_at"] is not None) == (use_of(number, 1) is dismiss)
        if row["gene_set_id"] is not None and number % 2:
            await GeneSetRepository().delete(row["gene_set_id"])
    await rebuilt_equal(watcher, len(played) + len(twice))


async def test_long_and_foreign_names_are_cut_and_numbered_as_the_table_needs_it(user, strategies, watcher):
    names = [
        "Gène 🧬 中文 العربية " * 30,
        "\u0000nul",
        "e\u0301 combining",
        "  spaces ",
        "🧬" * 255,
        "🧬" * 300,
        "🧬" * 256,
    ]
    strategy = strategies[0]
    played = {}
    for number, name in enumerate(names * 2):
        chat = chats.chat_of(strategy, wdk_strategy_id=number, name=name)
        played[await started(user, chat)] = chat
    await worked(play(played))
    rows = await rows_of(watcher)
    got = sorted(row["name"] for row in rows.values())
    assert len(set(got)) == len(names) * 2
    assert max(map(len, got)) == 255
    assert {"\ufffdnul", "\ufffdnul (1)", "\u00e9 combining (1)", "spaces (1)", "🧬" * 255} <= set(got)
    await rebuilt_equal(watcher, len(rows))


@pytest.fixture
async def legacy(unlogged, settings, strategies, watcher):
    """Conversations from a time without a log, written to; then the store with a log."""
    await init_db(settings=unlogged)
    owner = await UserRepository().create()
    repository = StreamRepository()
    made = []
    for number, strategy in enumerate(strategies[:12]):
        stream = await repository.create(owner.id, strategy["site_id"], name=strategy["name"])
        await repository.update_projection(
            stream.id,
            plan=strategy["plan"],
            record_type=strategy["record_type"],
            wdk_strategy_id=500 + number,
            is_saved=True,
            result_count=number,
        )
        made.append(stream.id)
    await GeneSetRepository().import_for_stream(made[0], name="Old", gene_ids=GENES, automatic=True)
    await repository.dismiss(made[1])
    await watcher.execute("UPDATE stream_projections SET message_count = 7, model_id = 'old'")
    await close_db()
    await init_db(settings=settings)
    yield made
    await close_db()


KEPT = ("name", "record_type", "wdk_strategy_id", "is_saved", "result_count", "message_count", "model_id", "plan")
LINKS = ("step_count", "dismissed_at", "dismissed_reason", "gene_set_id", "gene_set_auto_imported")


def kept(row, *without):
    return {column: row[column] for column in (*KEPT, *LINKS) if column not in without}


async def test_the_first_event_of_a_row_without_a_log_begins_it_with_what_the_row_holds(legacy, strategies, watcher):
    before = await rows_of(watcher)
    for stream_id in legacy:
        await Projector().append(stream_id, [Event(type="assistant_delta", data={"text": "Hello"})])
        await Projector().catch_up(stream_id)
    after = await rows_of(watcher)
    assert {key: kept(row) for key, row in after.items()} == {key: kept(row) for key, row in before.items()}
    assert {key: row["updated_at"] for key, row in after.items()} == {
        key: row["updated_at"] for key, row in before.items()
    }
    await rebuilt_equal(watcher, len(legacy))
    for stream_id, strategy in zip(legacy, strategies, strict=False):
        assert (await StreamRepository().get_projection(stream_id)).plan == strategy["plan"]


async def test_chats_go_on_in_rows_without_a_log(legacy, strategies, watcher):
    played = {
        stream_id: chats.chat_of(strategy, wdk_strategy_id=700 + number)
        for number, (stream_id, strategy) in enumerate(zip(legacy, strategies, strict=False))
    }
    await worked(play(played))
    for stream_id, chat in played.items():
        found = await StreamRepository().get_projection(stream_id)
        assert found.plan == chat.plan
        assert found.message_count == 7 + chat.messages
        assert found.wdk_strategy_id == chat.wdk_strategy_id
    await rebuilt_equal(watcher, len(legacy))


async def test_a_repositorys_write_begins_the_log_of_a_row_without_one(legacy, watcher):
    before = await rows_of(watcher)
    for stream_id in legacy:
        await StreamRepository().update_projection(stream_id, record_type="of now")
    await at_rest()
    after = await rows_of(watcher)
    assert {key: kept(row, "record_type") for key, row in after.items()} == {
        key: kept(row, "record_type") for key, row in before.items()
    }
    await rebuilt_equal(watcher, len(legacy))


def add(redis, prefix, stream_id, kind, data):
    """As a producer from before the store wrote it: no creation, straight into Redis."""
    fields = {"op": "", "type": kind, "data": data}
    return redis.xadd(LogKey.stream(stream_id).text(prefix), fields).decode()


@pytest.fixture
def raw_redis(redis_url):
    with client(redis_url) as connection:
        yield connection


@pytest.fixture
async def adopted(legacy, watcher, raw_redis, log_prefix):
    """Rows as an adoption leaves those that named no entry, and logs that an application without the store went on."""
    await watcher.execute("UPDATE stream_projections SET last_event_id = '0-0'")
    for stream_id in legacy:
        add(raw_redis, log_prefix, stream_id, "user_message", '{"content": "old"}')
        add(raw_redis, log_prefix, stream_id, "strategy_meta", '{"name": "Old producer\'s"}')
        add(raw_redis, log_prefix, stream_id, "strategy_link", '{"wdkStrategyId": 3}')
    return legacy


async def test_a_log_of_an_old_producer_is_folded_and_does_not_replace_what_the_row_holds(adopted, watcher):
    before = await rows_of(watcher)
    assert await ProjectionWorker().sweep() == len(adopted)
    middle = await rows_of(watcher)
    assert {key: kept(row, "message_count") for key, row in middle.items()} == {
        key: kept(row, "message_count") for key, row in before.items()
    }
    assert {row["message_count"] for row in middle.values()} == {1}, "as many as its log lists"
    await rebuilt_equal(watcher, len(adopted))

    for stream_id in adopted:
        await StreamRepository().update_projection(stream_id, result_count=99)
    await at_rest()
    after = await rows_of(watcher)
    assert {key: kept(row, "result_count") for key, row in after.items()} == {
        key: kept(row, "result_count") for key, row in middle.items()
    }
    await rebuilt_equal(watcher, len(adopted))


async def test_a_log_of_an_old_producer_that_nobody_has_folded_is_folded_after_the_next_write(adopted, watcher):
    for stream_id in adopted:
        await StreamRepository().update_projection(stream_id, record_type="of now")
    await at_rest()
    assert {(row["message_count"], row["record_type"]) for row in (await rows_of(watcher)).values()} == {(1, "of now")}
    await rebuilt_equal(watcher, len(adopted))


async def test_what_somebody_else_has_written_under_the_id_of_a_new_conversation_is_not_read(
    legacy, watcher, raw_redis, log_prefix
):
    """A row that has never had a log begins one, and removes what is there under its name."""
    before = await rows_of(watcher)
    for stream_id in legacy:
        add(raw_redis, log_prefix, stream_id, "user_message", '{"content": "another one\'s"}')
    await at_rest()
    after = await rows_of(watcher)
    assert {key: kept(row) for key, row in after.items()} == {key: kept(row) for key, row in before.items()}
    for stream_id in legacy:
        assert [message async for message in LogReader().iterate_messages(stream_id)] == []
    await rebuilt_equal(watcher, len(legacy))
