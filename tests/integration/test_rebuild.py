"""Rebuilding many projections while the application runs."""

import pytest

from tests.support.projections import logged
from veupath_store.errors import InvalidInputError, NotFoundError
from veupath_store.events.log.entries import Event
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.repositories import StreamRepository
from veupath_store.values import LagState, RebuildOutcome, VerifyOutcome


@pytest.fixture
def settings(database_url, redis_url, log_prefix):
    return logged(database_url, redis_url, log_prefix, lock_timeout=0.3)


async def conversations(user, count, site="plasmodb"):
    streams = [(await StreamRepository().create(user.id, site, name="Kinases")).id for _ in range(count)]
    for stream in streams:
        await Projector().append(stream, [Event(type="user_message", data={"content": "x"})])
        await Projector().catch_up(stream)
    return streams


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
        await Projector().append(stream, [Event(type="user_message", data={"content": "y"})])
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
