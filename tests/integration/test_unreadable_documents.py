"""A document that the store cannot read, in the table or in the log: it ends as a line of the report."""

import pytest

from tests.support.projections import MESSAGE, new_streams
from veupath_store import StreamRepository
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.values import VerifyOutcome

pytestmark = pytest.mark.with_log

LARGE = "repeat('9', 400)::numeric"
DEEP = f"('{'[' * 1_500}{']' * 1_500}')::jsonb"


@pytest.fixture
async def chats(user):
    """Conversations at rest; the second is to be harmed."""
    return await new_streams(user, 3)


@pytest.mark.parametrize("value", [LARGE, DEEP], ids=["400 digits", "1,500 levels"])
@pytest.mark.parametrize("column", ["plan", "unrooted_steps", "lost"])
@pytest.mark.parametrize("unlogged", ["'{}'", 'p.unlogged || \'{"plan": "w1", "unrooted_steps": "w1"}\''])
@pytest.mark.unlike_log
async def test_one_unreadable_document_in_the_table_stops_nothing(chats, watcher, column, value, unlogged):
    document = f"jsonb_build_object('n', {value})"
    document = f"jsonb_build_array({document})" if column == "unrooted_steps" else document
    await watcher.execute(
        f"UPDATE stream_projections p SET {column} = {document}, unlogged = {unlogged} WHERE stream_id = $1", chats[1]
    )
    for stream_id in (chats[0], chats[2]):
        await StreamRepository().update_projection(stream_id, record_type="m")
        await Projector().append(stream_id, [MESSAGE])
    await ProjectionWorker().drain()
    await ProjectionWorker().sweep()
    for stream_id in (chats[0], chats[2]):
        row = await StreamRepository().get_projection(stream_id)
        assert (row.record_type, row.message_count) == ("m", 2)
    report = await Projector().verify()
    assert report.counts[VerifyOutcome.EQUAL] == 2
    [suspect] = report.suspects
    assert suspect.stream_id == chats[1]
    assert sum((await Projector().lag()).counts.values()) == 3
    assert sum((await Projector().rebuild()).counts.values()) == 3


async def test_one_unreadable_document_in_a_log_stops_nothing(chats, logs):
    logs.add(chats[1], "strategy_meta", b'{"name":' + b"9" * 400 + b"}")
    logs.add(chats[1], "user_message", b"[" * 2_000)
    logs.add(chats[1], "user_message", {"content": "fine"})
    await ProjectionWorker().sweep()
    assert dict((await Projector().verify()).counts) == {VerifyOutcome.EQUAL: 3}
    assert (await StreamRepository().get_projection(chats[1])).message_count == 2
