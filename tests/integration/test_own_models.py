"""An application's own Tortoise models beside the store's: how Tortoise is opened, shared, and closed."""

import asyncio
import contextvars
import gc
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, HTTPException
from tortoise import Tortoise
from tortoise.context import TortoiseContext, get_current_context
from tortoise.contrib.fastapi import RegisterTortoise, register_tortoise
from tortoise.transactions import in_transaction

from tests.support import audit, faults, notes
from tests.support.audit import Visit
from tests.support.notes import Note
from tests.support.web import client_of, registered, running
from veupath_store import (
    ConfigurationError,
    StoreSettings,
    StreamRepository,
    UserRepository,
    async_session_factory,
    close_db,
    get_engine,
    init_db,
)
from veupath_store.errors import UnitOfWorkError
from veupath_store.integrations.fastapi import StoreSession, register_store
from veupath_store.integrations.testing.server import DatabaseServer
from veupath_store.models import User
from veupath_store.schema.migrations import migration_files, pending_migrations

pytestmark = [pytest.mark.own_database, pytest.mark.usefixtures("fresh_process")]

NOTES_TABLE = """
CREATE TABLE notes (
    id serial PRIMARY KEY, text text NOT NULL, user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE
)"""


@pytest.fixture(autouse=True)
async def tables(watcher):
    await watcher.execute(NOTES_TABLE)


@pytest.fixture
async def initialised():
    """Initialises Tortoise, as an application does for its whole process, with options; all is closed afterwards."""

    async def initialised(config):
        await Tortoise.init(config=config, _enable_global_fallback=True)

    yield initialised
    await close_db()
    await Tortoise.close_connections()


@pytest.fixture
async def both(settings, empty_url):
    """The configuration with an app in the store's database, and one in another."""
    async with TortoiseContext() as context:
        other = audit.connections(empty_url)
        await context.init(config={"connections": other, "apps": audit.APPS})
        await context.generate_schemas()
    return {"apps": {**notes.APPS, **audit.APPS}, "connections": other}


def application(**options):
    """An application whose requests use both models."""
    app = registered(**options)

    @app.post("/notes")
    async def write(session: StoreSession, text: str, fail: bool = False) -> int:
        user = await UserRepository(session).create()
        note = await Note.create(user=user, text=text)
        async with in_transaction("other") as other:
            await Visit.create(path="/notes", using_db=other)
        if fail:
            raise HTTPException(409, "not now")
        return note.id

    return app


@asynccontextmanager
async def running_apart(app):
    """As `running`; the lifespan is in a task that requests do not descend from, as in a server."""
    begun, ending = asyncio.Event(), asyncio.Event()

    async def live():
        async with app.router.lifespan_context(app):
            begun.set()
            await ending.wait()

    living = asyncio.create_task(live(), context=contextvars.Context())
    started = asyncio.create_task(begun.wait())
    await asyncio.wait({living, started}, return_when=asyncio.FIRST_COMPLETED)
    if living.done():
        started.cancel()
        living.result()
    try:
        async with client_of(app) as client:
            yield client
    finally:
        ending.set()
        await living


async def assert_requests_use_all(client):
    assert (await client.post("/notes", params={"text": "kept"})).status_code == 200
    assert (await client.post("/notes", params={"text": "undone", "fail": True})).status_code == 409
    [note] = await Note.all().select_related("user")
    assert (note.text, isinstance(note.user, User)) == ("kept", True)
    counts = await User.all().count(), await Visit.all().count()
    assert counts == (1, 2), "the other database is no part of the unit of work"
    assert (await client.get("/readyz")).json()["pending_migrations"] == []


async def assert_nothing_left(watcher):
    assert get_current_context() is None
    await faults.nobody_connected(watcher)


async def test_register_store_takes_the_apps_and_connections_of_the_application(settings, both, watcher):
    app = application(settings=settings, **both)
    for _ in range(2):
        async with running_apart(app) as client:
            await assert_requests_use_all(client)
            for model in (Note, User, Visit):
                await model.all().delete()
        await assert_nothing_left(watcher)


async def test_register_store_adopts_what_register_tortoise_has_initialised(settings, both, watcher):
    events = []

    @asynccontextmanager
    async def lifespan(app):
        events.append(await Note.create(user=await UserRepository().create(), text="begun"))
        yield
        events.append(await Note.create(user=await UserRepository().create(), text="ended"))

    app = FastAPI(lifespan=lifespan)
    register_store(app, settings=settings, apps=notes.APPS)
    register_tortoise(app, config=settings.tortoise_orm(**both))
    for _ in range(2):
        async with running_apart(app):
            assert await Visit.all().count() == 0
            assert get_engine().settings == settings
        await assert_nothing_left(watcher)
    assert [event.text for event in events] == ["begun", "ended"] * 2


@pytest.mark.parametrize("how", ["register_tortoise", "lifespan"])
async def test_a_tortoise_that_would_start_second_is_refused_with_what_to_do(settings, both, how, watcher):
    @asynccontextmanager
    async def lifespan(app):
        async with RegisterTortoise(app, config=settings.tortoise_orm(**both)):
            yield

    app = FastAPI(lifespan=lifespan if how == "lifespan" else None)
    if how == "register_tortoise":
        register_tortoise(app, config=settings.tortoise_orm(**both))
    register_store(app, settings=settings)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"register_store\(app, apps=…\).*register_tortoise after"):
            async with running_apart(app):
                pass
        await assert_nothing_left(watcher)


@pytest.mark.with_log
@pytest.mark.parametrize("store_first", [True, False])
async def test_init_db_adopts_what_tortoise_init_has_made_and_both_close_in_either_order(
    settings, both, watcher, store_first
):
    app = application()

    async def live():
        await Tortoise.init(config=settings.tortoise_orm(**both))
        assert (await init_db(settings=settings)).settings == settings
        await asyncio.create_task(serve(), context=contextvars.Context())
        for close in (close_db, Tortoise.close_connections) if store_first else (Tortoise.close_connections, close_db):
            await close()

    async def serve():
        async with client_of(app) as client:
            await assert_requests_use_all(client)
        await StreamRepository().create((await User.first()).id, "plasmodb")

    await asyncio.create_task(live(), context=contextvars.Context())
    gc.collect()  # what a connection to Redis that is left behind complains of
    await assert_nothing_left(watcher)
    # And the store alone, in the same process.
    await init_db(settings=settings)
    assert await User.all().count() == 1
    await close_db()
    await assert_nothing_left(watcher)


async def test_a_store_that_is_open_without_the_apps_is_refused_by_the_application(settings, both, initialised):
    app = application(**both)
    await init_db(settings=settings)
    with pytest.raises(ConfigurationError, match=r"without the app audit, notes: .*store_apps"):
        async with running(app):
            pass
    await close_db()
    await initialised(settings.tortoise_orm(**both))
    await init_db()
    async with running(app) as client:
        await assert_requests_use_all(client)


async def test_two_applications_in_one_process_share_what_is_open(settings, both, initialised):
    first, second = application(apps=notes.APPS), registered(apps=audit.APPS)
    await initialised(settings.tortoise_orm(**both))
    await init_db()
    async with running(first) as client, running(second) as other:
        await assert_requests_use_all(client)
        assert (await other.get("/readyz")).status_code == 200
    async with running(second) as other:
        assert (await other.get("/readyz")).status_code == 200
    assert await Note.all().count() == 1


async def test_two_applications_one_after_the_other_have_each_its_own(settings, both):
    for options, model in (({"apps": notes.APPS}, Note), (both, Visit), ({"apps": notes.APPS}, Note)):
        async with running(registered(settings=settings, **options)):
            assert await model.all().count() == 0
            assert await User.all().count() == 0


async def test_tortoise_without_the_stores_app_is_refused(settings, both):
    store = settings.tortoise_orm(**both)
    for config in ({**store, "apps": audit.APPS}, {"connections": both["connections"], "apps": audit.APPS}):
        await Tortoise.init(config=config)
        with pytest.raises(UnitOfWorkError, match=r"without the store.*tortoise_orm\(apps=…\)"):
            await init_db()
        await Tortoise.close_connections()


async def test_own_models_are_part_of_the_stores_unit_of_work(settings, both, initialised):
    await initialised(settings.tortoise_orm(**both))
    await init_db()
    user = await UserRepository().create()
    with pytest.raises(LookupError):
        async with async_session_factory() as session:
            await Note.create(user=user, text="as Tortoise does it")
            await Note.create(user=user, text="by the session", using_db=session.client)
            await Note.bulk_create([Note(user=user, text="many")])
            async with in_transaction("other"):
                await Visit.create(path="stays")
            raise LookupError
    assert (await Note.all().count(), await Visit.all().count()) == (0, 1)
    async with async_session_factory() as session:
        made = await UserRepository(session).create()
        kept = await Note.create(user=made, text="kept")
        with pytest.raises(LookupError):
            async with session.savepoint():
                await Note.create(user=made, text="undone")
                raise LookupError
        async with in_transaction("default"):
            await Note.create(user_id=user.id, text="kept, too")
        assert await Note.filter(user=made).count() == 1
    assert [note.text for note in await made.own_notes.all()] == ["kept"]
    async with in_transaction("other"), async_session_factory():
        await Visit.create(path="around")
        await Note.create(user=user, text="inside")
    assert (await Note.all().count(), await Visit.all().count()) == (3, 2)
    assert await UserRepository().delete(made.id)
    assert await Note.get_or_none(id=kept.id) is None


async def test_the_stores_migrations_are_the_stores_alone(settings, both, initialised, watcher):
    await watcher.execute("INSERT INTO aerich (version, app, content) VALUES ('9_later.py', 'notes', '{}')")
    await initialised(settings.tortoise_orm(**both))
    engine = await init_db()
    assert await pending_migrations(await engine.open()) == []
    await watcher.execute("UPDATE aerich SET app = 'notes' WHERE version = $1", migration_files()[-1])
    assert await pending_migrations(await engine.open()) == migration_files()[-1:]


async def test_generate_schemas_makes_the_applications_tables_only(settings, initialised, watcher):
    await watcher.execute("DROP TABLE notes")
    await initialised(settings.tortoise_orm(apps=notes.APPS))
    await Tortoise.generate_schemas(safe=False)
    assert await watcher.fetchval("SELECT count(*) FROM notes") == 0


def test_tables_for_tests_are_made_by_the_models_or_by_the_applications_migrations(server, tmp_path):
    databases = DatabaseServer(StoreSettings(database_url=server.url("postgres"), redis_url=None))
    made = databases.create()
    try:
        with pytest.raises(ConfigurationError, match="holds no migrations of the app 'notes'"):
            databases.migrate(made, notes.APPS, tmp_path)
        databases.migrate(made, {**notes.APPS, **audit.APPS})
        databases.execute("SELECT id, text, user_id FROM notes", database=made)
        with pytest.raises(Exception, match="visits"):
            databases.execute("SELECT FROM visits", database=made)
    finally:
        databases.drop(made)
        databases.close()
