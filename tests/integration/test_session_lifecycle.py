"""Opening and closing the store: every order of calls is defined."""

import asyncio
import gc
import threading
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from tortoise import Tortoise
from tortoise.context import _current_context, get_current_context

from tests.support import faults
from tests.support.databases import connected
from tests.support.servers import until
from veupath_store import (
    DocumentWriter,
    ExperimentSave,
    LogReader,
    StoreSettings,
    StreamRepository,
    UserRepository,
    async_session_factory,
    close_db,
    get_engine,
    init_db,
    session,
)
from veupath_store.errors import ConfigurationError, SchemaError, StoreClosedError, UnavailableError, UnitOfWorkError
from veupath_store.models import User

pytestmark = pytest.mark.usefixtures("fresh_process")


def assert_nothing_left():
    assert session._process.engine is None
    assert get_current_context() is None


async def test_init_db_gives_the_same_store_whoever_calls_it_and_refuses_other_settings_while_it_opens_and_is_open(
    settings, watcher
):
    other = settings.model_copy(update={"pool_max_size": 3})
    opening = [asyncio.create_task(init_db(settings=settings)) for _ in range(20)]
    await asyncio.sleep(0)
    with pytest.raises(UnitOfWorkError, match="other settings"):
        await init_db(settings=other)
    first, *rest = await asyncio.gather(*opening)
    assert {id(engine) for engine in rest} == {id(first)}
    assert await init_db() is first is await init_db(settings=settings) is get_engine()
    with pytest.raises(UnitOfWorkError, match="other settings"):
        await init_db(settings=other)
    await UserRepository().create()
    assert len(await faults.pids(watcher)) <= settings.pool_max_size
    assert await asyncio.to_thread(get_engine) is first, "synchronous code in a thread may look at it"


async def test_get_engine_before_init_db_with_other_settings_does_no_harm(settings, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/elsewhere")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/1")
    early, writer, reader = get_engine(), DocumentWriter(), LogReader()
    assert (
        await init_db(settings=settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:9/2")})) is early
    )
    user = await UserRepository().create()
    writer.put(ExperimentSave(id=user.id, user_id=user.id, site_id="plasmodb", name="x", status="running", data={}))
    with pytest.raises(StoreClosedError):
        await reader.page_events((await StreamRepository().create(user.id, "plasmodb")).id)  # another log's
    await close_db()  # drains the writer, although it is older than the settings
    assert writer.statistics.saved == 1


async def test_the_store_opens_by_itself_on_first_use(database_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert not get_engine().is_open
    user = await UserRepository().create()
    async with async_session_factory() as unit:
        assert await UserRepository(unit).get_by_id(user.id)


async def test_without_a_url_the_error_names_the_choices(monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for use in (get_engine, async_session_factory):
        with pytest.raises(ConfigurationError, match=r"DATABASE_URL.*embedded:"):
            use()
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        await init_db()


async def test_close_db_twice_and_on_nothing_is_harmless(settings, watcher):
    await close_db()
    await init_db(settings=settings)
    await close_db()
    await close_db()
    await faults.nobody_connected(watcher)


async def test_use_after_close_is_refused_until_init_db(settings, database_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    engine = await init_db()
    entered_late = async_session_factory()
    await close_db()
    with pytest.raises(StoreClosedError, match="init_db"):
        get_engine()
    with pytest.raises(StoreClosedError):
        async_session_factory()
    for use in (UserRepository().create, engine.open, entered_late.__aenter__):
        with pytest.raises(StoreClosedError):
            await use()
    await init_db()
    await UserRepository().create()


async def test_a_server_that_is_down_and_an_unknown_database_leave_nothing_behind(settings):
    url = settings.database_url.get_secret_value().replace(settings.target.database, "no_such_database")
    for wrong, error, says in (
        ("postgresql://127.0.0.1:9/store", UnavailableError, r"127\.0\.0\.1:9"),
        ("postgresql://127.0.0.1:9/store", UnavailableError, r"127\.0\.0\.1:9"),
        (url, ConfigurationError, "no such database"),
    ):
        with pytest.raises(error, match=says):
            await init_db(settings=StoreSettings(database_url=wrong))
        assert_nothing_left()
    await init_db(settings=settings)
    await UserRepository().create()


async def test_migrations_that_are_behind_leave_nothing_behind(empty_url):
    settings = StoreSettings(database_url=empty_url)
    for lazily_made in (False, True):
        if lazily_made:
            session._process.engine, session._process.closed = session.Engine(settings), False
        with pytest.raises(SchemaError, match="veupath-store migrate"):
            await init_db(settings=settings)
        assert_nothing_left()
    async with connected(empty_url) as watcher:
        await faults.nobody_connected(watcher)
    await init_db(settings=settings, require_head=False)
    await close_db()
    await init_db(True, settings=settings)
    await UserRepository().create()


@pytest.mark.own_database
async def test_a_second_init_db_that_fails_leaves_the_store_open(settings, watcher):
    await init_db(settings=settings)
    await watcher.execute("DELETE FROM aerich")
    with pytest.raises(SchemaError):
        await init_db()
    await UserRepository().create()


async def test_another_loop_is_refused_while_the_first_lives(settings):
    await init_db(settings=settings)
    errors = []

    async def elsewhere() -> None:
        for use in (get_engine, async_session_factory, UserRepository().create, init_db, close_db):
            try:
                result = use()
                await result
            except UnitOfWorkError as exc:
                errors.append(str(exc))

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(errors) == 5
    assert all("another event loop" in error for error in errors)
    await UserRepository().create()


# The garbage collector says that nobody closed them.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_store_that_an_ended_loop_left_open_is_replaced(settings, watcher):
    async def elsewhere() -> None:
        await init_db(settings=settings)
        await UserRepository().create("first loop")

    await asyncio.to_thread(asyncio.run, elsewhere())
    gc.disable()
    try:
        before = await faults.pids(watcher)
        await init_db(settings=settings)

        async def gone() -> bool:
            return not {*before} & {*await faults.pids(watcher)}

        await until(gone, within=15, what="the server has the old connections no more")
    finally:
        gc.enable()
        gc.collect()
    assert await User.filter(external_id="first loop").exists()
    async with async_session_factory() as unit:
        await UserRepository(unit).create("second loop")


@asynccontextmanager
async def tortoise(config, **options):
    """Initialised by the application, which closes it in the end."""
    await Tortoise.init(config=config, **options)
    yield
    await Tortoise.close_connections()
    _current_context.set(None)  # what Tortoise.init leaves current in this task


async def test_a_context_that_the_application_initialised_is_adopted(settings, watcher):
    async with tortoise(settings.tortoise_orm()):
        async with async_session_factory() as unit, unit.savepoint():
            await UserRepository(unit).create("in a session")
            await User.create(external_id="joins it")
        assert get_engine().settings is settings
        await close_db()
        with pytest.raises(StoreClosedError):
            await UserRepository().create()
        await faults.nobody_connected(watcher)
        await init_db()
        assert await User.all().count() == 2
        await close_db()


async def test_an_adopted_context_that_the_application_closed_is_let_go(settings):
    for login in ("first start", "second start"):
        async with tortoise(settings.tortoise_orm(), _enable_global_fallback=True):
            await asyncio.create_task(UserRepository().create(login))
    await init_db(settings=settings)
    assert await User.all().count() == 2


async def test_an_adopted_context_of_another_task_serves_sessions(settings):
    async def application() -> None:
        await Tortoise.init(config=settings.tortoise_orm())
        get_engine()

    await asyncio.create_task(application())
    async with async_session_factory() as unit, unit.savepoint():
        await UserRepository(unit).create()
    assert await User.all().count() == 1, "models, too"
    await close_db()
    assert get_current_context() is None


async def test_tortoise_initialised_with_another_engine_is_refused():
    connection = {"engine": "tortoise.backends.asyncpg", "credentials": {"database": "x"}}
    app = {"models": ["veupath_store.models"], "default_connection": "default"}
    async with tortoise({"connections": {"default": connection}, "apps": {"store": app}}):
        with pytest.raises(UnitOfWorkError, match="initialised without the store"):
            get_engine()
