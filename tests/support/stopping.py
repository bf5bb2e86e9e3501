"""``python -m tests.support.stopping DATABASE_URL REDIS_URL PREFIX USER_ID STREAM_ID=POINT …``: stops in units of work.

Each unit renames a conversation, gives it a plan and stops at its point; when all of them have come
that far the process says so, and waits to be killed. A point that begins with ``create`` makes the conversation.
"""

import asyncio
import contextvars
import sys
from uuid import UUID

from veupath_store import StoreSettings, StreamRepository, async_session_factory, init_db
from veupath_store.engine.transaction import StoreTransaction
from veupath_store.events import settlement
from veupath_store.events.log import EventLog

point = contextvars.ContextVar("point")
stopped = asyncio.Semaphore(0)


async def stop_at(name):
    if point.get().removeprefix("create ") == name:
        stopped.release()
        await asyncio.Event().wait()


def hook(owner, name, before, after):
    call = getattr(owner, name)

    async def hooked(*arguments, **named):
        await stop_at(before)
        result = await call(*arguments, **named)
        await stop_at(after)
        return result

    setattr(owner, name, hooked)


async def unit(stream_id, user_id, at):
    point.set(at)
    async with async_session_factory() as session:
        streams = StreamRepository(session)
        if at.startswith("create"):
            await streams.create(user_id, "plasmodb", stream_id=stream_id, name=f"never {stream_id}")
        else:
            await streams.update_projection(stream_id, name=f"never {stream_id}", plan={"root": None, "never": True})


async def main(database_url, redis_url, prefix, user_id, *units):
    await init_db(
        settings=StoreSettings(database_url=database_url, redis_url=redis_url, log_prefix=prefix, pool_max_size=30)
    )
    hook(EventLog, "exchange", "before the append", "after the append")
    hook(settlement, "write_rows", "", "before COMMIT")
    hook(StoreTransaction, "commit", "", "after COMMIT")
    tasks = []
    for text in units:
        stream_id, at = text.split("=")
        tasks.append(asyncio.create_task(unit(UUID(stream_id), UUID(user_id), at)))
    for _ in units:
        await stopped.acquire()
    sys.stdout.write("stopped\n")
    sys.stdout.flush()
    await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
