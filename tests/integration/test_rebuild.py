"""Rebuilding many projections together while the application runs: each as alone, and none in another one's way."""

import pytest

from tests.support.conversations import conversation, said, say
from tests.support.projections import OF_THE_ROW_ALONE
from tests.support.statements import recorded
from veupath_store.errors import InvalidInputError, NotFoundError
from veupath_store.events.log.entries import Event
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.selection import TOGETHER
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.models import StreamProjection
from veupath_store.repositories import StreamRepository
from veupath_store.values import LagState, RebuildOutcome, VerifyOutcome

pytestmark = pytest.mark.with_log(lock_timeout=0.3)

WIPED = (
    "UPDATE stream_projections SET record_type = NULL, model_id = NULL, message_count = 0, plan = '{}', "
    "wdk_strategy_id = NULL, is_saved = false, name = stream_id::text"
)


async def conversations(user, count, site="plasmodb"):
    streams = [await conversation(user, "Kinases", site) for _ in range(count)]
    for stream in streams:
        await say(stream, "x")
    return streams


async def different(user, count):
    """Some that differ: short and long logs, WDK links, names that were taken, a large plan."""
    streams = [await conversation(user, "Kinases") for _ in range(count)]
    for number, stream in enumerate(streams):
        await StreamRepository().update_projection(
            stream, wdk_strategy_id=number, plan={"notes": "x" * (200_000 if number == 7 else 5) + str(number)}
        )
        model = Event(type="model_selected", data={"modelId": f"m{number}"})
        await Projector().append(stream, [*said("x") * (150 if number % 5 == 0 else 3), model])
        await Projector().catch_up(stream)
    return streams


async def rows():
    found = await StreamProjection.all().values()
    return {row["stream_id"]: {name: row[name] for name in row if name not in OF_THE_ROW_ALONE} for row in found}


async def test_rows_that_were_wiped_are_what_they_were(user, watcher):
    await different(user, 2 * TOGETHER + 3)
    before = await rows()
    for wiped in (WIPED, f"{WIPED}, last_event_id = NULL"):
        await watcher.execute(wiped)
        assert (await Projector().rebuild()).counts == {RebuildOutcome.REBUILT: len(before)}
        assert await rows() == before


async def test_a_group_costs_as_many_statements_as_one(user):
    streams = await different(user, 1 + TOGETHER)
    large, *others = [streams[7], *(one for one in streams if one != streams[7])]
    with recorded() as alone:
        await Projector().rebuild(stream_id=others[0])
    await StreamRepository().delete(large)
    with recorded() as together:
        report = await Projector().rebuild(parallel=1)
    assert report.counts == {RebuildOutcome.REBUILT: TOGETHER}
    assert len(together) == len(alone)


@pytest.mark.unlike_log
@pytest.mark.parametrize("force", [False, True])
async def test_one_whose_log_cannot_be_trusted_stops_none_of_the_others(user, watcher, logs, force):
    streams = await different(user, 6)
    logs.redis.xtrim(logs.key(streams[1]), maxlen=2, approximate=False)
    logs.redis.delete(logs.key(streams[2]))
    [ours, theirs] = [(await rows())[stream] for stream in streams[3:5]]
    await watcher.execute(f"{WIPED} WHERE stream_id = ANY ($1)", streams[3:5])
    report = await Projector().rebuild(force=force)
    after = await rows()
    assert [after[stream] for stream in streams[3:5]] == [ours, theirs]
    if force:
        assert report.counts == {RebuildOutcome.REBUILT: 6}
        assert after[streams[1]]["message_count"] == 1
    else:
        assert {one.stream_id: one.outcome for one in report.refused} == {
            streams[1]: RebuildOutcome.INCOMPLETE,
            streams[2]: RebuildOutcome.BEHIND,
        }
        assert report.counts[RebuildOutcome.REBUILT] == 4


async def test_one_that_fails_in_the_database_keeps_none_of_the_others_from_being_done(user, watcher):
    *others, last = sorted(await different(user, 5))
    before = await rows()
    await watcher.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation'; END $$"
    )
    await watcher.execute(WIPED)
    await watcher.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON stream_projections FOR EACH ROW "
        f"WHEN (OLD.stream_id = '{last}') EXECUTE FUNCTION refuse()"
    )
    try:
        report = await Projector().rebuild(parallel=1)
    finally:
        await watcher.execute("DROP TRIGGER refuse ON stream_projections; DROP FUNCTION refuse")
    assert report.counts == {RebuildOutcome.REBUILT: 4, RebuildOutcome.UNREADABLE: 1}
    assert [one.stream_id for one in report.refused] == [last]
    done = await rows()
    assert [done[stream] for stream in others] == [before[stream] for stream in others]
    assert done[last] != before[last]
    await Projector().rebuild()
    assert await rows() == before


async def test_a_row_that_others_keep_locked_is_left_alone_and_does_not_stop_the_others(user, watcher):
    streams = await conversations(user, 5)
    async with watcher.transaction():
        await watcher.execute("SELECT FROM stream_projections WHERE stream_id = $1 FOR UPDATE", streams[2])
        report = await Projector().rebuild()
    assert report.counts == {RebuildOutcome.REBUILT: 4, RebuildOutcome.BUSY: 1}
    assert [(one.stream_id, one.outcome) for one in report.refused] == [(streams[2], RebuildOutcome.BUSY)]
    assert (await Projector().rebuild()).counts == {RebuildOutcome.REBUILT: 5}


async def test_a_row_that_others_keep_locked_stops_no_other_from_being_caught_up(user, watcher):
    streams = await conversations(user, 5)
    for stream in streams:
        await Projector().append(stream, said("y"))
    async with watcher.transaction():
        await watcher.execute("SELECT FROM stream_projections WHERE stream_id = $1 FOR UPDATE", streams[2])
        await ProjectionWorker().drain()
        assert (await Projector().lag()).counts == {LagState.CURRENT: 4, LagState.BEHIND: 1}
    await ProjectionWorker().drain()
    assert (await Projector().lag()).counts == {LagState.CURRENT: 5}


async def test_a_selection_is_a_users_a_sites_or_one(user, stranger):
    mine, theirs = await conversations(user, 3), await conversations(stranger, 2)
    elsewhere = await conversations(user, 1, site="toxodb")
    for arguments, count in (
        ({}, 6),
        ({"user_id": user.id}, 4),
        ({"user_id": user.id, "site_id": "toxodb"}, 1),
        ({"site_id": "plasmodb"}, 5),
        ({"stream_id": theirs[0]}, 1),
        ({"user_id": user.id, "stream_id": mine[0]}, 1),
    ):
        done: list[int] = []
        assert sum((await Projector().rebuild(**arguments, progress=done.append)).counts.values()) == count
        assert sum(done) == count
        assert (await Projector().verify(**arguments, progress=done.append)).counts == {VerifyOutcome.EQUAL: count}
        assert sum((await Projector().lag(**arguments, progress=done.append)).counts.values()) == count
        assert sum(done) == 3 * count
    for call in (Projector().rebuild, Projector().verify, Projector().lag):
        with pytest.raises(NotFoundError):
            await call(stream_id=elsewhere[0], user_id=stranger.id)
        with pytest.raises(InvalidInputError, match="site_id"):
            await call(site_id="x" * 51)


@pytest.mark.parametrize("parallel", [0, 65, True])
async def test_how_many_at_once_is_bounded(store, parallel):
    with pytest.raises(InvalidInputError, match="parallel"):
        await Projector().rebuild(parallel=parallel)
