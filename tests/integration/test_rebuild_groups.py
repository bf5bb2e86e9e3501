"""Rebuilding conversations together: as each alone, with fewer statements, and none of them in another one's way."""

import pytest

from tests.support.projections import OF_THE_ROW_ALONE, logged
from tests.support.statements import recorded
from veupath_store import StreamRepository
from veupath_store.events.log.entries import Event, LogKey
from veupath_store.events.log.log import required_log
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.selection import TOGETHER
from veupath_store.models import StreamProjection
from veupath_store.values import RebuildOutcome

WIPED = (
    "UPDATE stream_projections SET record_type = NULL, model_id = NULL, message_count = 0, plan = '{}', "
    "wdk_strategy_id = NULL, is_saved = false, name = stream_id::text"
)


@pytest.fixture
def settings(database_url, redis_url, log_prefix):
    return logged(database_url, redis_url, log_prefix, lock_timeout=0.3)


async def conversations(user, count):
    """Some that differ: short and long logs, WDK links, names that were taken, a large plan."""
    streams = []
    for number in range(count):
        stream = (await StreamRepository().create(user.id, "plasmodb", name="Kinases")).id
        await StreamRepository().update_projection(
            stream, wdk_strategy_id=number, plan={"notes": "x" * (200_000 if number == 7 else 5) + str(number)}
        )
        said = [Event(type="user_message", data={"content": "x"})] * (150 if number % 5 == 0 else 3)
        await Projector().append(stream, [*said, Event(type="model_selected", data={"modelId": f"m{number}"})])
        await Projector().catch_up(stream)
        streams.append(stream)
    return streams


async def rows():
    found = await StreamProjection.all().values()
    return {row["stream_id"]: {name: row[name] for name in row if name not in OF_THE_ROW_ALONE} for row in found}


async def test_rows_that_were_wiped_are_what_they_were(user, watcher):
    await conversations(user, 2 * TOGETHER + 3)
    before = await rows()
    await watcher.execute(WIPED)
    report = await Projector().rebuild()
    assert report.counts == {RebuildOutcome.REBUILT: len(before)}
    assert await rows() == before
    await watcher.execute(f"{WIPED}, last_event_id = NULL")
    report = await Projector().rebuild()
    assert report.counts == {RebuildOutcome.REBUILT: len(before)}
    assert await rows() == before


async def test_a_group_costs_as_many_statements_as_one(user):
    streams = await conversations(user, 1 + TOGETHER)
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
async def test_one_whose_log_cannot_be_trusted_stops_none_of_the_others(user, watcher, force):
    streams = await conversations(user, 6)
    log = required_log()
    await log._client.run([("XTRIM", LogKey.stream(streams[1]).text(log._prefix), "MAXLEN", 2)])
    await log._client.run([("UNLINK", LogKey.stream(streams[2]).text(log._prefix))])
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
    *others, last = sorted(await conversations(user, 5))
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
