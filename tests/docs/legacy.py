"""The legacy database that the page about adoption begins with."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from tests.support.databases import connected
from tests.support.legacy import rows, schema
from tests.support.redis_servers import client


def in_place_of_the_store() -> None:
    """Make the page's database one of the SQLAlchemy layer, with a conversation whose owner is gone."""
    with ThreadPoolExecutor(1) as pool:  # the page itself runs in an event loop
        pool.submit(lambda: asyncio.run(_make(os.environ["DATABASE_URL"]))).result()


async def _make(url: str) -> None:
    world = rows.World()
    owner = world.user()["id"]
    chat = world.chat(owner, name="Kinases", model_id=None, message_count=1, last_event_id="1740000000000-1")
    world.chat(rows.identity(99), name="Phosphatases", last_event_id=None)
    world.experiment(id="exp_0123456789ab", user_id=owner, name="Kinases")
    world.operation(chat["stream_id"], operation_id="op_0123456789ab", status="completed")
    async with connected(url) as connection:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.execute(schema.schema_sql("alembic"))
        await rows.insert(connection, world.rows)
    _log(f"{os.environ['VEUPATH_STORE_LOG_PREFIX']}stream:{chat['stream_id']}")


def _log(key: str) -> None:
    """A log as that layer has written it: without the creation of its conversation."""
    redis = client(os.environ["REDIS_URL"])
    events = {"user_message": "{}", "strategy_meta": '{"name": "Kinases", "recordType": "transcript"}'}
    for number, (kind, data) in enumerate(events.items()):
        redis.xadd(key, {"op": "op_0123456789ab", "type": kind, "data": data}, f"1740000000000-{number}")
    redis.close()
