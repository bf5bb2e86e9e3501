"""What the law has found: how rows and logs are brought together."""

import pytest

from veupath_store.config import StoreSettings
from veupath_store.events.entries import Event
from veupath_store.events.projector import Projector
from veupath_store.repositories import StreamRepository


@pytest.fixture
def settings(database_url, redis_url, log_prefix):
    return StoreSettings(database_url=database_url, redis_url=redis_url, log_prefix=log_prefix)


@pytest.mark.parametrize("xact", ["none of ours", "", "\0", "-1", "9" * 20, 77, None, "٧"])
async def test_an_event_that_names_a_transaction_that_cannot_be_does_not_stop_its_stream(user, xact):
    stream = await StreamRepository().create(user.id, "plasmodb")
    events = [
        Event(type="projection_patched", data={"name": "patched", "xact": xact}),
        Event(type="user_message", data={}),
    ]
    positions = await Projector().append(stream.id, events)

    done = await Projector().catch_up(stream.id)

    assert done.position == positions[-1]
    projection = await StreamRepository().get_projection(stream.id)
    assert (projection.name, projection.message_count) == ("patched", 1)
