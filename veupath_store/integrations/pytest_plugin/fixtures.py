"""The fixtures. A project overrides any of them by one of the same name; what they give imports itself when used."""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from veupath_store.integrations.pytest_plugin import RUN, loop_scope_of, options_of

if TYPE_CHECKING:
    from pathlib import Path

    from veupath_store import StoreSettings
    from veupath_store.events import EventLog
    from veupath_store.integrations.testing import DatabaseServer, Factories, Make, Recorder, StoreClock
    from veupath_store.integrations.testing.emptying import SharedDatabase
    from veupath_store.session.engine import Engine


@pytest.fixture(scope="session")
def store_server(request: pytest.FixtureRequest) -> "Iterator[DatabaseServer]":
    """The server on which databases are made: the one that DATABASE_URL names, or an embedded one."""
    place = request.config.stash[RUN].place
    server = place.server()
    yield server
    place.leave(server)


@pytest.fixture(scope="session")
def store_apps() -> "Mapping[str, Any]":
    """The application's own Tortoise apps, as for ``StoreSettings.tortoise_orm``. Override it to have their tables."""
    return {}


@pytest.fixture(scope="session")
def store_migrations() -> "Path | str | None":
    """The folder of their aerich migrations, in it one for each app; by default the tables are as the models say."""
    return None


@pytest.fixture
def store_connections() -> "Mapping[str, Any]":
    """Other connections of theirs, as for ``StoreSettings.tortoise_orm``."""
    return {}


@pytest.fixture(scope="session")
def store_template(
    request: pytest.FixtureRequest,
    store_server: "DatabaseServer",
    store_apps: "Mapping[str, Any]",
    store_migrations: "Path | str | None",
) -> str:
    """The name of a migrated, empty database, made once in a run."""
    return request.config.stash[RUN].place.template(store_server, store_apps, store_migrations)


@pytest.fixture(scope="session", name="_store_shared_database")
def shared_database(store_server: "DatabaseServer", store_template: str) -> "Iterator[SharedDatabase]":
    """The database that this process's tests have one after the other."""
    from veupath_store.integrations.testing.emptying import SharedDatabase  # noqa: PLC0415 - imports Tortoise

    shared = SharedDatabase(store_server, store_template)
    yield shared
    shared.drop()


@pytest.fixture
def store_database_url(
    request: pytest.FixtureRequest, store_server: "DatabaseServer", store_template: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of a migrated database without rows, of this test's own meanwhile; also in DATABASE_URL."""
    monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)
    own = store_server.create(store_template) if options_of(request).database == "own" else None
    url = store_server.url(own or request.getfixturevalue("_store_shared_database").cleaned())
    monkeypatch.setenv("DATABASE_URL", url)
    yield url
    if own:
        store_server.drop(own)


@pytest.fixture
def store_log_prefix() -> str:
    """What this test's keys begin with in a Redis that others use as well."""
    return f"veupath_store_pytest_{os.getpid()}_{uuid4().hex[:12]}:"


@pytest.fixture
def store_redis_url(
    request: pytest.FixtureRequest, store_log_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str | None]:
    """The URL of the event log, also in REDIS_URL; ``None`` for a test that has none.

    The Redis that REDIS_URL names when the run begins, or else the embedded one. What the test leaves there is removed.
    """
    if not options_of(request).event_log:
        monkeypatch.delenv("REDIS_URL", raising=False)
        yield None
        return
    place = request.config.stash[RUN].place
    url = place.log(store_log_prefix)
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("VEUPATH_STORE_LOG_PREFIX", store_log_prefix)
    yield url
    place.forget_log(url, store_log_prefix)


@pytest.fixture
def store_settings(store_database_url: str, store_redis_url: str | None, store_log_prefix: str) -> "StoreSettings":
    """The settings with which the store is opened. Override it to set more of them."""
    from veupath_store import StoreSettings  # noqa: PLC0415 - imports Tortoise

    return StoreSettings(
        database_url=store_database_url,
        migration_database_url=None,
        redis_url=store_redis_url,
        log_prefix=store_log_prefix if store_redis_url else "",
    )


@pytest.fixture
def store(request: pytest.FixtureRequest) -> "Engine":
    """The open store, on a migrated database without rows. It is opened in the test's event loop, and closed after it.

    Needs pytest-asyncio.
    """
    if not request.config.pluginmanager.hasplugin("asyncio"):
        pytest.fail("the fixture store needs pytest-asyncio: pip install 'veupath-store[testing]'", pytrace=False)
    from veupath_store.integrations.pytest_plugin.opened import fixture_name  # noqa: PLC0415 - needs pytest-asyncio

    engine: Engine = request.getfixturevalue(fixture_name(loop_scope_of(request)))
    return engine


@pytest.fixture
def store_log(store: "Engine") -> "EventLog":
    """The event log of the open store. A test that asks for it has one."""
    from veupath_store.events.log.log import required_log  # noqa: PLC0415 - imports Tortoise

    del store
    return required_log()


@pytest.fixture
def store_clock(store: "Engine") -> "StoreClock":
    """Moves time on: ``await store_clock.advance(days=3)``."""
    from veupath_store.integrations.testing import StoreClock  # noqa: PLC0415 - imports Tortoise

    del store
    return StoreClock()


@pytest.fixture
def store_statements() -> "Recorder":
    """Records the SQL that the block of a ``with`` sends, and may check how many statements there were."""
    from veupath_store.integrations.testing import recorded  # noqa: PLC0415 - imports Tortoise

    return recorded


@pytest.fixture
def store_factories(store: "Engine") -> "Factories":
    """All factories in one: ``await store_factories.user()``."""
    from veupath_store.integrations.testing import Factories  # noqa: PLC0415 - imports Tortoise

    del store
    return Factories()


def _factory(method: str, what: str) -> Any:  # noqa: ANN401 - a fixture
    def make(store_factories: "Factories") -> "Make[Any]":
        made: Make[Any] = getattr(store_factories, method)
        return made

    make.__doc__ = f"Makes {what}: `Factories.{method}`."
    return pytest.fixture(make)


make_user = _factory("user", "users who have logged in")
make_guest = _factory("guest", "users without a login")
make_stream = _factory("stream", "conversations, their projections loaded")
make_projection = _factory("projection", "conversations, and gives their projections")
make_control_set = _factory("control_set", "control sets")
make_experiment = _factory("experiment", "experiments")
make_gene_set = _factory("gene_set", "gene sets")
make_operation = _factory("operation", "operations")
make_lease = _factory("lease", "operations that run, and gives their leases")
