"""How connections are made: several hosts, PgBouncer, timeouts, a pool that is full."""

import asyncio
import socket
from urllib.parse import quote

import pytest

from tests.support import faults
from tests.support.opened import opened
from tests.support.pooler import pooler
from tests.support.proxies import database_proxy
from tests.support.servers import until
from veupath_store import StoreSettings, UserRepository, async_session_factory, close_db, init_db
from veupath_store.engine.connect import connect_arguments, server_settings
from veupath_store.errors import ConfigurationError, OutcomeUnknownError, StoreError, UnavailableError
from veupath_store.servers.database_url import parse_database_url

SETTINGS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


@pytest.fixture
def refusing():
    """A port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def after(first: object, settings: StoreSettings, **options) -> StoreSettings:
    """The same database, behind a first host: the port of one that is no use, or the directory of a socket."""
    target = settings.target
    hosts = [host if host.startswith("/") else f"{host}:{port}" for host, port in target.hosts]
    first = f"127.0.0.1:{first}" if isinstance(first, int) else quote(str(first))
    password = f":{target.password}" if target.password else ""
    url = f"postgresql://{target.user}{password}@/{target.database}?host={','.join([first, *hosts])}"
    return StoreSettings(database_url=url, **options)


async def _settings_of(client) -> dict[str, str]:
    names = ", ".join(f"current_setting('{name}') AS {name}" for name in SETTINGS)
    return dict((await client.execute_rows(f"SELECT {names}"))[0])


@pytest.mark.parametrize("first", ["refusing", "silent"])
async def test_the_second_host_is_used_when_the_first_refuses_or_hangs(settings, request, first):
    first = request.getfixturevalue(first)
    async with asyncio.timeout(15), opened(after(first, settings, connect_timeout=1.0)):
        assert await UserRepository().create()


async def test_of_a_name_with_several_addresses_the_next_one_is_used(database_url, monkeypatch):
    def addresses(host, *args, **options):
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.example" else [host]
        return [found for each in hosts for found in resolved(each, *args, **options)]

    resolved = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    async with pooler(database_url) as url:
        with socket.socket() as silent:
            silent.bind(("127.0.0.2", parse_database_url(url).hosts[0][1]))
            silent.listen()
            two = url.replace("127.0.0.1", "two.example")
            async with asyncio.timeout(4), opened(two, connect_timeout=5.0):
                assert await UserRepository().create()


async def test_the_connection_that_loses_the_race_is_closed(settings, watcher, tmp_path):
    """The first host answers late: both accept, one connection of the pool is left."""
    async with database_proxy(settings.database_url.get_secret_value(), tmp_path) as (late, _):
        late.delay = 0.4
        async with opened(after(tmp_path, settings, pool_max_size=3)) as client:
            await faults.acquire_all(client)
            assert late.connections, "there was a race"

            async def three() -> bool:
                return len(await faults.pids(watcher)) == 3

            await asyncio.sleep(1)
            await until(three, within=15, what="the pool's connections and no others are left")


async def _opening_fails(url: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await init_db(settings=StoreSettings(database_url=url, connect_timeout=0.5))
    return caught.value


async def test_the_error_of_several_hosts_has_the_reason_of_each(settings, silent, refusing):
    two = await _opening_fails(f"postgresql://me@127.0.0.1:{refusing},127.0.0.1:{silent}/db")
    assert type(two) is UnavailableError
    assert f"127.0.0.1:{refusing}: " in str(two)
    assert f"127.0.0.1:{silent}: " in str(two)


async def test_what_the_only_host_that_answers_will_never_accept_is_a_configuration_error(settings, refusing):
    wrong = after(refusing, settings).database_url.get_secret_value().replace("//postgres", "//nobody_of_that_name")
    error = await _opening_fails(wrong)
    assert type(error) is ConfigurationError
    assert f"127.0.0.1:{refusing}: " in str(error)


async def test_a_host_without_the_wanted_attributes_is_passed_over(settings):
    url = settings.database_url.get_secret_value()
    url += f"{'&' if '?' in url else '?'}target_session_attrs="
    for wanted in ("primary", "prefer-standby"):
        async with opened(url + wanted):
            """It opens."""
    for wanted in ("standby", "read-only"):
        error = await _opening_fails(url + wanted)
        assert type(error) is UnavailableError
        assert "target_session_attrs" in str(error)


async def test_a_host_that_hangs_is_unavailable_in_time_for_all_who_wait(silent):
    hanging = StoreSettings(database_url=f"postgresql://127.0.0.1:{silent}/store", connect_timeout=1.0)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
        await init_db(settings=hanging)
    client = await _lazily(hanging)
    async with asyncio.timeout(10):
        errors = await asyncio.gather(*(client.ping() for _ in range(100)), return_exceptions=True)
    assert {type(error) for error in errors} == {UnavailableError}
    # Making the pool counts into the time that a call waits for a connection.
    client = await _lazily(hanging.model_copy(update={"connect_timeout": 30, "acquire_timeout": 0.2}))
    async with asyncio.timeout(10):
        with pytest.raises(UnavailableError, match=r"within 0\.2 s"):
            await client.ping()
    await close_db()


async def _lazily(settings: StoreSettings):
    """An open store that has not met its server yet."""
    from veupath_store import session

    await close_db()
    return await (await session._engine_for(settings)).open()


async def _cut_short(work) -> None:
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_cancelled_task_s_attempt_to_connect_is_finished_for_the_next(database_url, watcher):
    async with opened(database_url, pool_min_size=0, pool_max_size=3) as client:
        for _ in range(20):
            await _cut_short(client.ping() for _ in range(3))
        await faults.assert_pool_complete()
        assert len(await faults.pids(watcher)) == 3
    await faults.nobody_connected(watcher)


async def test_an_attempt_that_was_left_behind_is_closed_with_the_store(database_url, watcher):
    async with opened(database_url, pool_max_size=5) as client:
        await _cut_short(client.ping() for _ in range(5))
        await asyncio.sleep(0.1)
        assert len(await faults.pids(watcher)) > client._pool.get_size(), "nothing was left behind"
    await faults.nobody_connected(watcher)


async def test_an_attempt_of_a_task_that_is_cancelled_after_the_closing_is_closed_too(database_url, watcher):
    for steps in range(12):
        async with opened(database_url, pool_min_size=0, pool_max_size=3) as client:
            tasks = [asyncio.create_task(client.ping()) for _ in range(3)]
            for _ in range(steps):
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0.02)
        await faults.nobody_connected(watcher)


async def test_a_full_pool_is_unavailable_within_the_acquire_timeout(database_url):
    async with opened(database_url, pool_max_size=1, acquire_timeout=0.2):
        async with async_session_factory(), asyncio.timeout(10):
            with pytest.raises(UnavailableError, match="all 1 of the pool"):
                await UserRepository().create()
            with pytest.raises(UnavailableError):
                async with async_session_factory():
                    pytest.fail("there is no second connection")
        await UserRepository().create()


TIMEOUTS = {"statement_timeout": 7, "lock_timeout": 2.5, "idle_in_transaction_timeout": 9}
SHOWN = dict(zip(SETTINGS, ("7s", "2500ms", "9s"), strict=True))


async def test_the_server_knows_the_timeouts_of_every_connection(database_url):
    async with opened(database_url, pool_min_size=3, **TIMEOUTS) as client, async_session_factory() as session:
        assert client.usage().open == 3
        assert await _settings_of(client) == await _settings_of(session.client) == SHOWN


async def test_through_pgbouncer_timeouts_are_set_in_each_transaction_only(database_url):
    settings = StoreSettings(database_url=database_url, pgbouncer=True, **TIMEOUTS)
    assert server_settings(settings, settings.target) == {}
    assert connect_arguments(settings, settings.target)["statement_cache_size"] == 0
    async with opened(settings) as client:
        bare = await _settings_of(client)
        async with async_session_factory() as session:
            assert await _settings_of(session.client) == SHOWN
            await UserRepository(session).create("kept")
        assert await _settings_of(client) == bare
        assert bare["statement_timeout"] == "0"


async def test_a_busy_task_takes_turns_with_all_who_wait_for_the_only_connection(database_url):
    """It gives the connection back and asks again without a pause: the connection is there, and is somebody else's."""
    calls = {"busy": 0}
    async with opened(database_url, pool_max_size=1) as client:

        async def busy():
            while True:
                await client.ping()
                calls["busy"] += 1

        async def patient():
            for _ in range(5):
                await client.ping()

        hurrying = asyncio.create_task(busy())
        await until(lambda: calls["busy"] > 50, within=10, what="it is busy")
        before = calls["busy"]
        async with asyncio.timeout(10):
            await asyncio.gather(*(patient() for _ in range(20)))
        taken = calls["busy"] - before
        hurrying.cancel()
        await asyncio.wait({hurrying})
    assert taken <= 10, "one turn a round, of five rounds"


async def test_a_free_connection_that_the_server_has_closed_is_not_lent(database_url, watcher):
    async with opened(database_url, pool_max_size=1) as client:
        for _ in range(3):
            await client.ping()
            assert await faults.kill_backends(watcher) == 1
            await asyncio.sleep(0.05)  # until this process has heard of it
        await client.ping()
        assert (client.usage().open, client.usage().in_use) == (1, 0)


@pytest.mark.parametrize(
    ("moment", "error"),
    [("autocommit", OutcomeUnknownError), ("BEGIN", UnavailableError), ("body", UnavailableError),
     ("COMMIT", OutcomeUnknownError)],
)  # fmt: skip
async def test_a_dead_flow_costs_one_call_at_whatever_moment(database_url, tmp_path, moment, error):
    async with (
        database_proxy(database_url, tmp_path) as (flow, url),
        opened(url, command_timeout=0.5, pool_max_size=5) as client,
    ):
        await faults.acquire_all(client)

        async def call() -> None:
            if moment == "autocommit":
                flow.dead = flow.connections
                await UserRepository().create()
                return
            flow.dead = flow.connections if moment == "BEGIN" else 0
            async with async_session_factory() as session:
                await session.client.execute_rows("SELECT 1")
                flow.dead = flow.connections if moment == "body" else 0
                await UserRepository(session).create()
                flow.dead = flow.connections

        with pytest.raises(error):
            await call()
        async with asyncio.timeout(30):
            await asyncio.gather(*(UserRepository().create() for _ in range(20)))
            await faults.assert_pool_complete()
        assert flow.connections == 11, "each of five was replaced once; one more asked to cancel the statement"


async def test_borrowing_and_giving_back_a_free_connection_waits_for_nothing(database_url):
    """Not even for one turn of the event loop, beside that of the statement itself."""
    async with opened(database_url) as client:
        borrowing = client.acquire_connection()
        with pytest.raises(StopIteration):
            borrowing.__aenter__().send(None)
        assert client.usage().in_use == 1
        with pytest.raises(StopIteration):
            borrowing.__aexit__(None, None, None).send(None)
        assert client.usage().in_use == 0
