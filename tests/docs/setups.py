"""What pages use and do not define: as little as can be, since a reader does not see it."""

import os
from collections.abc import Callable

from tests.support.apart import run_apart
from tests.support.databases import execute
from tests.support.legacy import rows
from tests.support.legacy.databases import legacy
from tests.support.redis_servers import client


def legacy_in_place_of_the_store() -> None:
    """Make the page's database one of the SQLAlchemy layer, with a conversation whose owner is gone."""
    world, url = rows.World(), os.environ["DATABASE_URL"]
    owner = world.user()["id"]
    chat = world.chat(owner, name="Kinases", model_id=None, message_count=1, last_event_id="1740000000000-1")
    world.chat(rows.identity(99), name="Phosphatases", last_event_id=None)
    world.experiment(id="exp_0123456789ab", user_id=owner, name="Kinases")
    world.operation(chat["stream_id"], operation_id="op_0123456789ab", status="completed")
    run_apart(execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public"))
    run_apart(legacy(url, world, "alembic"))
    # A log as that layer has written it: without the creation of its conversation.
    key = f"{os.environ['VEUPATH_STORE_LOG_PREFIX']}stream:{chat['stream_id']}"
    events = {"user_message": "{}", "strategy_meta": '{"name": "Kinases", "recordType": "transcript"}'}
    with client(os.environ["REDIS_URL"]) as redis:
        for number, (kind, data) in enumerate(events.items()):
            redis.xadd(key, {"op": "op_0123456789ab", "type": kind, "data": data}, f"1740000000000-{number}")


OPEN_THE_STORE = {"docs/your-own-models.md"}
"""Pages that show how the store is opened: it is not open before."""

SETUPS: dict[str, Callable[[], None]] = {"docs/adoption.md": legacy_in_place_of_the_store}
"""By page, what is called before its first block."""
