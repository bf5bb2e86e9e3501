"""What the law has found: how rows and logs are brought together."""

import asyncio
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from tests.support.law_deaths import DeadError, dying, mortality
from tests.support.servers import until
from veupath_store.engine import start_detached
from veupath_store.errors import UnavailableError
from veupath_store.events.current import event_log
from veupath_store.events.entries import Event
from veupath_store.events.keys import LogKey
from veupath_store.events.origin import ORIGIN
from veupath_store.events.projector import Projector
from veupath_store.events.settlement import Settlement
from veupath_store.events.worker import ProjectionWorker
from veupath_store.repositories import StreamRepository, UserRepository
from veupath_store.session import async_session_factory, get_engine
from veupath_store.values import RebuildOutcome, VerifyOutcome

pytestmark = pytest.mark.with_log


@pytest.fixture
async def here(store):
    """This cluster and its timeline, and a transaction that has committed."""
    client = await get_engine().open()
    return (await client.execute_rows(f"SELECT {ORIGIN}"))[0]


async def rolled_back_xact():
    async with async_session_factory() as session:
        xact = (await session.client.execute_rows(f"SELECT {ORIGIN}"))[0]["xact"]
        await session.rollback()
    return xact


async def patched(stream, **data):
    """Append a patch as a repository would, and catch up; the row, and how many entries its log holds then."""
    await Projector().append(stream.id, [Event(type="projection_patched", data=data)])
    await Projector().catch_up(stream.id)
    projection = await StreamRepository().get_projection(stream.id)
    return projection.name, (await event_log().ends([LogKey.stream(stream.id)]))[0].length


async def position_of(stream):
    return (await StreamRepository().get_projection(stream.id)).last_event_id


async def test_an_event_of_a_transaction_that_was_rolled_back_is_removed(user, here):
    stream = await StreamRepository().create(user.id, "plasmodb", name="kept")
    xact = await rolled_back_xact()
    assert await patched(stream, name="never", xact=xact, cluster=here["cluster"]) == ("kept", 1)


async def test_an_event_whose_row_never_moved_is_removed_though_its_transactions_id_was_given_away(user, here):
    """After a crash PostgreSQL gives an id out again of which nothing had reached the disk."""
    stream = await StreamRepository().create(user.id, "plasmodb", name="kept")
    data = {"name": "never", **here, "base": await position_of(stream)}
    assert await patched(stream, **data) == ("kept", 1)


async def test_an_event_of_a_transaction_that_committed_is_folded_into_a_row_that_was_set_back(user, here):
    stream = await StreamRepository().create(user.id, "plasmodb", name="kept")
    before = await position_of(stream)
    await Projector().append(stream.id, [Event(type="user_message", data={})])
    await Projector().catch_up(stream.id)
    assert await patched(stream, name="true", **here, base=before) == ("true", 3)


async def test_another_clusters_events_are_the_truth_whatever_became_of_the_same_id_here(user, here):
    stream = await StreamRepository().create(user.id, "plasmodb", name="kept")
    xact = await rolled_back_xact()
    data = {"name": "true", "xact": xact, "cluster": "7.1", "base": await position_of(stream)}
    assert await patched(stream, **data) == ("true", 2)


@pytest.mark.parametrize(
    "xact",
    ["none of ours", "", "\0", "0", "2", "-1", "+5", " 5", "0x5", "9" * 19, "9" * 20, "9" * 30, 77, None, "\u0667"],
)
async def test_an_event_that_names_a_transaction_that_cannot_be_does_not_stop_its_stream(user, here, xact):
    stream = await StreamRepository().create(user.id, "plasmodb")
    events = [
        Event(type="projection_patched", data={"name": "patched", "xact": xact, "cluster": here["cluster"]}),
        Event(type="user_message", data={}),
    ]
    positions = await Projector().append(stream.id, events)

    done = await Projector().catch_up(stream.id)

    assert done.position == positions[-1]
    projection = await StreamRepository().get_projection(stream.id)
    assert (projection.name, projection.message_count) == ("patched", 1)


@pytest.fixture
def mortal():
    with mortality():
        yield


@pytest.fixture
async def log(store):
    found = event_log()
    assert found is not None
    return found


async def nobody(pid: int) -> None:
    """The server rolls back by itself."""


async def die_creating(user, stream_id: UUID) -> None:
    with pytest.raises(DeadError), dying("first exchange", nobody):
        await StreamRepository().create(user.id, "plasmodb", stream_id=stream_id, name="a secret")


async def test_the_log_of_a_creation_that_died_before_its_commit_is_removed(mortal, user, log):
    unborn, appended_to = uuid4(), uuid4()
    for stream_id in (unborn, appended_to):
        await die_creating(user, stream_id)
    events = [
        Event(type="user_message", data={"content": "hello"}),
        Event(type="projection_patched", data={"created": True}),
    ]
    await Projector().append(appended_to, events)

    await ProjectionWorker().sweep()

    assert await log.ends([LogKey.stream(unborn), LogKey.stream(appended_to)]) == [None, None]
    assert (await log.backlog()).count == 0


async def test_the_log_of_a_creation_that_is_under_way_is_left_alone(mortal, user, log):
    stream_id, swept = uuid4(), []

    async def sweep(pid: int) -> None:
        await start_detached(ProjectionWorker().sweep())
        swept.append(await log.ends([LogKey.stream(stream_id)]))

    with pytest.raises(DeadError), dying("before commit", sweep):
        await StreamRepository().create(user.id, "plasmodb", stream_id=stream_id)

    assert swept[0][0] is not None


async def test_the_log_of_a_conversation_that_the_database_lost_is_kept(user, log):
    stream = await StreamRepository().create(user.id, "plasmodb")
    await (await get_engine().open()).execute_query("DELETE FROM streams")

    await ProjectionWorker().sweep()

    assert await log.ends([LogKey.stream(stream.id)]) != [None]


async def test_unlinking_a_strategy_leaves_the_saved_flag_with_a_log_as_without_one(user):
    stream = await StreamRepository().create(user.id, "plasmodb")
    await StreamRepository().claim_wdk_strategy(stream.id, 1, is_saved=True)
    await StreamRepository().update_projection(stream.id, wdk_strategy_id=None, wdk_strategy_id_set=True)

    projection = await StreamRepository().get_projection(stream.id)
    assert (projection.wdk_strategy_id, projection.is_saved) == (None, True)


async def test_a_user_who_is_deleted_while_a_conversation_is_made_leaves_no_log(user, log, watcher):
    async with async_session_factory() as session:
        stream = await StreamRepository(session).create(user.id, "plasmodb")
        deleting = start_detached(UserRepository().delete(user.id))

        async def waits() -> bool:
            return await watcher.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")

        await until(waits, within=5, what="the deletion waits for the creation")
    assert await deleting

    await ProjectionWorker().sweep()

    assert await log.ends([LogKey.stream(stream.id)]) == [None]


async def delete_and_make_again(stream, death: str = "") -> None:
    with dying(death, nobody):
        async with async_session_factory() as session:
            await StreamRepository(session).delete(stream.id)
            async with session.savepoint():
                await StreamRepository(session).create(stream.user_id, "plasmodb", stream_id=stream.id, name="again")


@pytest.mark.parametrize("death", ["first exchange", "lost answer", "before commit"])
async def test_a_log_outlives_a_deletion_that_died_before_its_commit(mortal, user, log, death):
    stream = await StreamRepository().create(user.id, "plasmodb", name="first")
    with pytest.raises(UnavailableError if death == "lost answer" else DeadError):
        await delete_and_make_again(stream, death)

    await ProjectionWorker().sweep()

    assert [entry.type for entry in await log.read(LogKey.stream(stream.id), count=9)] == ["projection_patched"]
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: 1}
    assert (await StreamRepository().get_projection(stream.id)).name == "first"


@pytest.mark.parametrize("death", ["", "after commit"])
async def test_nothing_older_is_left_of_a_conversation_that_was_deleted_and_made_again_at_once(
    mortal, user, log, death
):
    stream = await StreamRepository().create(user.id, "plasmodb", name="first")
    await Projector().append(stream.id, [Event(type="user_message", data={"content": "a secret"})])
    with suppress(DeadError):
        await delete_and_make_again(stream, death)

    await ProjectionWorker().sweep()

    entries = await log.read(LogKey.stream(stream.id), count=9)
    assert [b"again" in entry.raw for entry in entries] == [True]
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: 1}
    assert (await Projector().lag()).removals == 0


async def test_a_conversation_that_is_made_while_its_row_is_looked_for_is_rebuilt_as_others_are(user, monkeypatch):
    stream = await StreamRepository().create(user.id, "plasmodb")
    load, looks = Settlement.load, []

    async def too_early(settlement, stream_ids):
        looks.append(1)
        return [] if len(looks) == 1 else await load(settlement, stream_ids)

    monkeypatch.setattr(Settlement, "load", too_early)
    report = await Projector().rebuild(stream_id=stream.id)

    assert report.counts == {RebuildOutcome.REBUILT: 1}


async def test_calls_without_a_session_that_deadlock_with_each_other_are_repeated(user):
    """Each takes the other's strategy, so each needs the other's row; PostgreSQL finds that after a second."""
    one, other = [(await StreamRepository().create(user.id, "plasmodb")).id for _ in range(2)]
    for _ in range(3):
        await StreamRepository().claim_wdk_strategy(one, 1)
        await StreamRepository().claim_wdk_strategy(other, 2)
        await asyncio.gather(
            StreamRepository().claim_wdk_strategy(one, 2), StreamRepository().claim_wdk_strategy(other, 1)
        )
        held = {(await StreamRepository().get_projection(it)).wdk_strategy_id for it in (one, other)}
        assert held == {1, 2}
    assert not (await Projector().verify()).suspects
