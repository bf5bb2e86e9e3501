"""Opening and closing the store: every order of calls is defined."""

import asyncio
import gc
import threading

import pytest
from pydantic import SecretStr
from tortoise import Tortoise
from tortoise.context import get_current_context

from tests.support import faults
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


async def test_init_db_twice_gives_the_same_store(settings):
    first = await init_db(settings=settings)
    assert await init_db() is first is await init_db(settings=settings) is get_engine()
    await UserRepository().create()


async def test_init_db_with_other_settings_is_refused_while_the_store_is_open(settings):
    await init_db(settings=settings)
    with pytest.raises(UnitOfWorkError, match="other settings"):
        await init_db(settings=settings.model_copy(update={"pool_max_size": 3}))
    await UserRepository().create()


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


async def test_the_settings_of_a_store_that_is_being_opened_cannot_be_changed(settings):
    first = asyncio.create_task(init_db(settings=settings))
    await asyncio.sleep(0)
    with pytest.raises(UnitOfWorkError, match="other settings"):
        await init_db(settings=settings.model_copy(update={"pool_max_size": 3}))
    assert await first is get_engine()


async def test_concurrent_first_calls_open_one_store(settings, watcher):
    engines = await asyncio.gather(*(init_db(settings=settings) for _ in range(20)))
    assert len({id(engine) for engine in engines}) == 1
    assert len(await faults.pids(watcher)) <= settings.pool_max_size


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
        await UserRepository().create()
    with pytest.raises(StoreClosedError):
        async_session_factory()
    with pytest.raises(StoreClosedError):
        await engine.open()
    with pytest.raises(StoreClosedError):
        await entered_late.__aenter__()
    await init_db()
    await UserRepository().create()


async def test_a_server_that_is_down_leaves_nothing_behind(settings, watcher):
    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
            await init_db(settings=StoreSettings(database_url="postgresql://127.0.0.1:9/store"))
        assert session._process.engine is None
        assert get_current_context() is None
    await init_db(settings=settings)
    await UserRepository().create()


async def test_an_unknown_database_leaves_nothing_behind(settings):
    url = settings.database_url.get_secret_value().replace(settings.target.database, "no_such_database")
    with pytest.raises(ConfigurationError, match="no such database"):
        await init_db(settings=StoreSettings(database_url=url))
    await init_db(settings=settings)


async def test_migrations_that_are_behind_leave_nothing_behind(empty_url):
    settings = StoreSettings(database_url=empty_url)
    for lazily_made in (False, True):
        if lazily_made:
            session._process.engine, session._process.closed = session.Engine(settings), False
        with pytest.raises(SchemaError, match="veupath-store migrate"):
            await init_db(settings=settings)
        assert session._process.engine is None
        assert get_current_context() is None
    watcher = await faults.watcher(empty_url)
    await faults.nobody_connected(watcher)
    await watcher.close()
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


async def test_synchronous_code_in_a_thread_may_look_at_the_store(settings):
    engine = await init_db(settings=settings)
    assert await asyncio.to_thread(get_engine) is engine


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
        await until(lambda: _gone(watcher, before), within=15, what="the server has the old connections no more")
    finally:
        gc.enable()
        gc.collect()
    assert await User.filter(external_id="first loop").exists()
    async with async_session_factory() as unit:
        await UserRepository(unit).create("second loop")


async def _gone(watcher, pids) -> bool:
    return not {*pids} & {*await faults.pids(watcher)}


async def test_a_context_that_the_application_initialised_is_adopted(settings, watcher):
    await Tortoise.init(config=settings.tortoise_orm())
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
    await Tortoise.close_connections()
    await _reset_tortoise()


async def test_an_adopted_context_that_the_application_closed_is_let_go(settings):
    for login in ("first start", "second start"):
        await Tortoise.init(config=settings.tortoise_orm(), _enable_global_fallback=True)
        await asyncio.create_task(UserRepository().create(login))
        await Tortoise.close_connections()
        await _reset_tortoise()
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


async def test_tortoise_initialised_with_another_engine_is_refused(database_url):
    await Tortoise.init(
        config={
            "connections": {"default": {"engine": "tortoise.backends.asyncpg", "credentials": {"database": "x"}}},
            "apps": {"store": {"models": ["veupath_store.models"], "default_connection": "default"}},
        }
    )
    with pytest.raises(UnitOfWorkError, match="initialised without the store"):
        get_engine()
    await Tortoise.close_connections()
    await _reset_tortoise()


async def _reset_tortoise() -> None:
    """What Tortoise.init leaves current in this task."""
    from tortoise.context import _current_context

    _current_context.set(None)
