"""After a restore the two servers are of different moments: what docs/operations.md says of it."""

import pytest

from tests.support import redis_servers
from tests.support.servers import new_name
from veupath_store import (
    ControlSetRepository,
    Event,
    LogReader,
    ProjectionWorker,
    Projector,
    StreamRepository,
    UserRepository,
    close_db,
    init_db,
)
from veupath_store.config import StoreSettings

pytestmark = [pytest.mark.own_database, pytest.mark.with_log, pytest.mark.large]


def said(text):
    return [Event(type="user_message", data={"content": text, "messageId": text})]


async def say(stream_id, text):
    await Projector().append(stream_id, said(text))
    await Projector().catch_up(stream_id)


async def texts(stream_id):
    return [message.content async for message in LogReader().iterate_messages(stream_id)]


def logs(redis_url, prefix):
    """What Redis holds of this store, as a backup has it."""
    with redis_servers.client(redis_url) as client:
        return {key: client.dump(key) for key in client.scan_iter(match=f"{prefix}*")}


def restore_logs(redis_url, prefix, backup):
    redis_servers.remove_keys(redis_url, prefix)
    with redis_servers.client(redis_url) as client:
        for key, value in backup.items():
            client.restore(key, 0, value)


async def test_redis_of_an_earlier_moment(store, user, redis_url, log_prefix):
    """Messages since then are lost; names and plans are not, for the row has them."""
    stream = await StreamRepository().create(user.id, "plasmodb", name="old")
    await say(stream.id, "first")
    backup = logs(redis_url, log_prefix)
    await say(stream.id, "lost")
    await StreamRepository().update_projection(stream.id, name="renamed since", plan={"root": {"id": "a"}})
    later = await StreamRepository().create(user.id, "plasmodb", name="begun since")
    restore_logs(redis_url, log_prefix, backup)

    assert (await Projector().lag()).counts == {"ahead": 2}
    assert len((await Projector().verify()).suspects) == 2
    refused = (await Projector().rebuild()).refused
    assert {one.stream_id for one in refused} == {stream.id, later.id}
    row = await StreamRepository().get_projection(stream.id)
    assert (row.name, row.message_count) == ("renamed since", 2)

    for one in (stream, later):
        await say(one.id, "next")
    assert (await Projector().lag()).counts == {"current": 2}
    assert not (await Projector().verify()).suspects
    row = await StreamRepository().get_projection(stream.id)
    assert (row.name, row.plan, row.message_count) == ("renamed since", {"root": {"id": "a"}}, 3)
    assert "lost" not in await texts(stream.id)
    assert (await StreamRepository().get_projection(later.id)).name == "begun since"


async def test_an_empty_redis(store, user, redis_url, log_prefix):
    stream = await StreamRepository().create(user.id, "plasmodb", name="old")
    await say(stream.id, "lost")
    restore_logs(redis_url, log_prefix, {})
    assert (await Projector().lag()).counts == {"ahead": 1}
    await say(stream.id, "next")
    assert not (await Projector().verify()).suspects
    assert (await StreamRepository().get_projection(stream.id)).name == "old"
    assert await texts(stream.id) == ["next"]


async def test_postgresql_of_an_earlier_moment(store, user, settings, server):
    """Rows become what their logs say; what other tables lost stays lost, and so do conversations begun since."""
    stream = await StreamRepository().create(user.id, "plasmodb", name="old")
    await say(stream.id, "first")
    await close_db()
    backup = new_name()
    await server.create(backup, settings.target.database)
    try:
        await init_db(settings=settings)
        await say(stream.id, "second")
        await StreamRepository().update_projection(stream.id, name="renamed since", plan={"root": {"id": "a"}})
        later = await StreamRepository().create(user.id, "plasmodb", name="begun since")
        lists = {"positive_ids": [], "negative_ids": []}
        await ControlSetRepository().create(name="x", site_id="plasmodb", record_type="gene", user_id=user.id, **lists)
        await close_db()

        restored = StoreSettings(
            database_url=server.url(backup), redis_url=settings.redis_url, log_prefix=settings.log_prefix
        )
        await init_db(settings=restored)
        assert (await StreamRepository().get_projection(stream.id)).name == "old"
        assert (await Projector().lag()).counts == {"behind": 1}
        assert not (await Projector().rebuild()).refused
        row = await StreamRepository().get_projection(stream.id)
        assert (row.name, row.plan, row.message_count) == ("renamed since", {"root": {"id": "a"}}, 2)
        assert not (await Projector().verify()).suspects
        assert await texts(stream.id) == ["first", "second"]
        await ProjectionWorker().sweep()
        assert await StreamRepository().get_projection(later.id) is None
        assert await ControlSetRepository().list_by_site("plasmodb", user.id) == []
        assert (await UserRepository().get_by_id(user.id)).id == user.id
    finally:
        await close_db()
        await server.drop(backup)
