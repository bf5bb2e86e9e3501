"""``python -m tests.support.forking CASE DATABASE_URL REDIS_URL PREFIX``: a process forks while its store is in use.

Prints what the child did and what the parent did afterwards, one word a line; every case ends with exit code 0.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from uuid import UUID

from tortoise import Tortoise

from tests.support.opened import opened
from veupath_store import (
    DocumentWriter,
    Event,
    ExperimentSave,
    LogReader,
    Projector,
    StoreSettings,
    StreamRepository,
    UserRepository,
    async_session_factory,
    close_db,
    get_engine,
    init_db,
)
from veupath_store.errors import StoreClosedError
from veupath_store.models import User

settings: StoreSettings


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def work(name):
    """A user with a conversation, in a unit of work with an event; both are read back, also by a model's query."""
    async with async_session_factory() as session:
        user = await UserRepository(session).create(name)
        stream = await StreamRepository(session).create(user.id, "plasmodb", name=name)
    await Projector().append(stream.id, [Event(type="user_message", data={})])
    assert await logged(stream.id) == ["user_message"]
    assert (await UserRepository().get_by_id(user.id)).external_id == name
    assert await User.filter(external_id=name).count() == 1
    return stream.id


async def logged(stream_id, reader=None):
    return [event.type for event in (await (reader or LogReader()).page_events(stream_id)).items]


def in_child(name):
    """What a child does: open a store of its own, use it, and close it."""

    async def life():
        async with opened(settings):
            await work(name)

    asyncio.run(life())
    say(f"{name} worked")


def forked(child):
    """Fork; the child ends without unwinding, as the children of multiprocessing do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns where there are threads
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        child()
        code = 0
    except Exception:  # noqa: BLE001 - shown
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


async def ended(pid):
    _, status = await asyncio.wait_for(asyncio.to_thread(os.waitpid, pid, 0), 30)
    assert status == 0, status


def connections():
    pool = get_engine()._context.connections.get("default")._pool
    return {id(holder._con) for holder in pool._holders if holder._con is not None}


@asynccontextmanager
async def using(name="parent"):
    """A parent that uses its store, and goes on afterwards on the connections that it had: none is lost or replaced."""
    async with opened(settings):
        await asyncio.gather(*(work(f"{name} {n}") for n in range(4)))
        before = connections()
        yield
        await work(f"{name} again")
        assert connections() >= before
    say("parent works")


async def forks_idle():
    async with using():
        await ended(forked(lambda: in_child("child")))


async def forks_and_opens_by_itself():
    """A child that does not call init_db uses the settings of its parent, not those of the environment."""
    os.environ["DATABASE_URL"] = "postgresql://127.0.0.1:9/elsewhere"

    async def life():
        await work("child")
        await close_db()
        say("child worked")

    async with using():
        await ended(forked(lambda: asyncio.run(life())))


async def forks_in_a_session():
    async with using():
        async with async_session_factory() as session:
            await UserRepository(session).create("in the session")
            await ended(forked(lambda: in_child("child")))
            await UserRepository(session).create("after the fork")
        assert await User.filter(external_id__in=["in the session", "after the fork"]).count() == 2


async def leaves_through_the_session():
    """The child writes in the parent's unit of work, and leaves it by an error: nothing of that reaches the server."""
    await init_db(settings=settings)
    parent = os.getpid()
    try:
        async with async_session_factory() as session:
            await UserRepository(session).create("in the session")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if not pid:
                signal.alarm(10)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where the parent's loop complains of what breaks here
                await UserRepository(session).create("in the child")
            await ended(pid)
            await UserRepository(session).create("after the fork")
    finally:
        if os.getpid() != parent:
            os._exit(0)
    assert await User.all().count() == 2
    assert await User.filter(external_id__in=["in the session", "after the fork"]).count() == 2
    say("parent works")
    await close_db()


async def forks_with_tortoise_of_the_application():
    await Tortoise.init(config=settings.tortoise_orm(), _enable_global_fallback=True)
    await forks_idle()


def pooled(number):
    in_child(f"child {number}")
    return os.getpid()


async def forks_a_pool():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        async with using():
            loop = asyncio.get_running_loop()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                tasks = [loop.run_in_executor(pool, pooled, number) for number in range(4)]
            assert os.getpid() not in await asyncio.gather(*tasks)


async def uses_what_is_the_parent_s():
    """The parent's reader, writer, engine and session are refused in the child, before anything is sent."""
    async with using():
        stream_id = await work("parent")
        reader, writer, engine = LogReader(), DocumentWriter(), get_engine()
        client = await engine.open()
        await logged(stream_id, reader)

        async def refused():
            async with opened(settings):
                for use in (logged(stream_id, reader), engine.open(), client.execute_rows("SELECT 1"), put(writer)):
                    try:
                        await use
                    except StoreClosedError as exc:
                        say(f"refused: {exc}")
                    else:
                        raise AssertionError(use)

        await ended(forked(lambda: asyncio.run(refused())))
        await logged(stream_id, reader)


async def put(writer):
    writer.put(ExperimentSave(id=UUID(int=1), user_id=UUID(int=2), site_id="x", name="x", status="running", data={}))


def preloads():
    """As gunicorn with --preload: the store was opened and used in a loop that has ended, then workers are forked."""

    async def used(name):
        async with using(name):
            """It works."""

    asyncio.run(used("parent"))
    children = [forked(lambda number=number: in_child(f"child {number}")) for number in range(2)]
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    asyncio.run(used("parent later"))


CASES = {
    case.__name__: case
    for case in (
        forks_idle,
        forks_and_opens_by_itself,
        forks_in_a_session,
        leaves_through_the_session,
        forks_with_tortoise_of_the_application,
        forks_a_pool,
        uses_what_is_the_parent_s,
        preloads,
    )
}


def main(case, database_url, redis_url="", prefix=""):
    global settings  # noqa: PLW0603 - what the cases run with
    settings = StoreSettings(database_url=database_url, redis_url=redis_url or None, log_prefix=prefix)
    run = CASES[case]
    asyncio.run(run()) if asyncio.iscoroutinefunction(run) else run()


if __name__ == "__main__":
    main(*sys.argv[1:])
