"""How connections are made: several hosts, PgBouncer, timeouts, a pool that is full."""

import asyncio
import socket

import pytest

from tests.support import faults
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


def after(port: int, settings: StoreSettings, **options) -> StoreSettings:
    """The same database, behind a first host that is no use."""
    target = settings.target
    hosts = [f"127.0.0.1:{port}", *(host if host.startswith("/") else f"{host}:{p}" for host, p in target.hosts)]
    password = f":{target.password}" if target.password else ""
    url = f"postgresql://{target.user}{password}@/{target.database}?host={','.join(hosts)}"
    return StoreSettings(database_url=url, **options)


async def _settings_of(client) -> dict[str, str]:
    names = ", ".join(f"current_setting('{name}') AS {name}" for name in SETTINGS)
    return dict((await client.execute_rows(f"SELECT {names}"))[0])


@pytest.mark.parametrize("first", ["refusing", "silent"])
async def test_the_second_host_is_used_when_the_first_refuses_or_hangs(settings, request, first):
    async with asyncio.timeout(15):
        await init_db(settings=after(request.getfixturevalue(first), settings, connect_timeout=1.0))
    assert await UserRepository().create()
    await close_db()


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
            two = StoreSettings(database_url=url.replace("127.0.0.1", "two.example"), connect_timeout=5.0)
            async with asyncio.timeout(4):
                await init_db(settings=two)
            assert await UserRepository().create()
            await close_db()


async def test_the_connection_that_loses_the_race_is_closed(settings, watcher):
    """The first host answers late: both accept, one connection of the pool is left."""
    target = settings.target
    real = (f"{target.hosts[0][0]}/.s.PGSQL.{target.hosts[0][1]}",) if target.hosts[0][0][0] == "/" else target.hosts[0]
    accepted = []

    async def late(reader, writer):
        accepted.append(writer)
        await asyncio.sleep(0.4)
        connect = asyncio.open_unix_connection if len(real) == 1 else asyncio.open_connection
        from_server, to_server = await connect(*real)
        relays = [_relay(reader, to_server), _relay(from_server, writer)]
        await asyncio.wait([asyncio.ensure_future(one) for one in relays], return_when=asyncio.FIRST_COMPLETED)
        to_server.close()
        writer.close()

    proxy = await asyncio.start_server(late, "127.0.0.1", 0)
    engine = await init_db(settings=after(proxy.sockets[0].getsockname()[1], settings, pool_max_size=3))
    await faults.acquire_all(await engine.open())
    assert accepted, "there was a race"

    async def three() -> bool:
        return len(await faults.pids(watcher)) == 3

    await asyncio.sleep(1)
    await until(three, within=15, what="the pool's connections and no others are left")
    await close_db()
    proxy.close()


async def _relay(reader, writer) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


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


async def test_a_host_without_the_wanted_attributes_is_passed_over(settings, refusing):
    url = settings.database_url.get_secret_value()
    for wanted, opens in (("standby", False), ("read-only", False), ("primary", True), ("prefer-standby", True)):
        one = StoreSettings(database_url=f"{url}{'&' if '?' in url else '?'}target_session_attrs={wanted}")
        if opens:
            await init_db(settings=one)
            await close_db()
        else:
            error = await _opening_fails(one.database_url.get_secret_value())
            assert type(error) is UnavailableError
            assert "target_session_attrs" in str(error)


async def test_a_host_that_hangs_is_unavailable_in_time_for_all_who_wait(silent):
    hanging = StoreSettings(database_url=f"postgresql://127.0.0.1:{silent}/store", connect_timeout=1.0)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
        await init_db(settings=hanging)
    engine = await _lazily(hanging)
    async with asyncio.timeout(10):
        errors = await asyncio.gather(*(engine.ping() for _ in range(100)), return_exceptions=True)
    assert {type(error) for error in errors} == {UnavailableError}
    await close_db()


async def test_making_the_pool_counts_into_the_acquire_timeout(silent):
    url = f"postgresql://127.0.0.1:{silent}/store"
    client = await _lazily(StoreSettings(database_url=url, connect_timeout=30, acquire_timeout=0.2))
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
    engine = await init_db(settings=StoreSettings(database_url=database_url, pool_min_size=0, pool_max_size=3))
    client = await engine.open()
    for _ in range(20):
        await _cut_short(client.ping() for _ in range(3))
    await faults.assert_pool_complete()
    assert len(await faults.pids(watcher)) == 3
    await close_db()
    await faults.nobody_connected(watcher)


async def test_an_attempt_that_was_left_behind_is_closed_with_the_store(database_url, watcher):
    engine = await init_db(settings=StoreSettings(database_url=database_url, pool_max_size=5))
    client = await engine.open()
    await _cut_short(client.ping() for _ in range(5))
    await asyncio.sleep(0.1)
    assert len(await faults.pids(watcher)) > client._pool.get_size(), "nothing was left behind"
    await close_db()
    await faults.nobody_connected(watcher)


async def test_an_attempt_of_a_task_that_is_cancelled_after_the_closing_is_closed_too(database_url, watcher):
    for steps in range(12):
        engine = await init_db(settings=StoreSettings(database_url=database_url, pool_min_size=0, pool_max_size=3))
        client = await engine.open()
        tasks = [asyncio.create_task(client.ping()) for _ in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        await close_db()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0.02)
        await faults.nobody_connected(watcher)


async def test_a_full_pool_is_unavailable_within_the_acquire_timeout(database_url):
    await init_db(settings=StoreSettings(database_url=database_url, pool_max_size=1, acquire_timeout=0.2))
    async with async_session_factory(), asyncio.timeout(10):
        with pytest.raises(UnavailableError, match="all 1 of the pool"):
            await UserRepository().create()
        with pytest.raises(UnavailableError):
            async with async_session_factory():
                pytest.fail("there is no second connection")
    await UserRepository().create()
    await close_db()


async def test_the_server_knows_the_timeouts_of_every_connection(database_url):
    await init_db(
        settings=StoreSettings(
            database_url=database_url, statement_timeout=7, lock_timeout=2.5, idle_in_transaction_timeout=9
        )
    )
    expected = dict(zip(SETTINGS, ("7s", "2500ms", "9s"), strict=True))
    assert await _settings_of(await (await init_db()).open()) == expected
    async with async_session_factory() as session:
        assert await _settings_of(session.client) == expected
    await close_db()


async def test_through_pgbouncer_timeouts_are_set_in_each_transaction_only(database_url):
    settings = StoreSettings(
        database_url=database_url, pgbouncer=True, statement_timeout=7, lock_timeout=2.5, idle_in_transaction_timeout=9
    )
    assert server_settings(settings, settings.target) == {}
    assert connect_arguments(settings, settings.target)["statement_cache_size"] == 0
    engine = await init_db(settings=settings)
    bare = await _settings_of(await engine.open())
    async with async_session_factory() as session:
        assert await _settings_of(session.client) == dict(zip(SETTINGS, ("7s", "2500ms", "9s"), strict=True))
        await UserRepository(session).create("kept")
    assert await _settings_of(await engine.open()) == bare
    assert bare["statement_timeout"] == "0"
    await close_db()


async def test_a_session_state_that_a_unit_of_work_left_is_gone_with_the_next(database_url):
    engine = await init_db(settings=StoreSettings(database_url=database_url, pool_max_size=1))
    async with async_session_factory() as session:
        await session.client.execute_script("SET lock_timeout = 123; SELECT pg_advisory_lock(42)")
    client = await engine.open()
    assert (await _settings_of(client))["lock_timeout"] == "5s"
    locks = await client.execute_rows(
        "SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory' AND objid = 42"
    )
    assert locks[0]["held"] == 0
    await close_db()


async def test_a_pool_that_cannot_open_as_many_as_it_should_keep_opens_fewer_and_leaves_none(database_url, watcher):
    await watcher.execute("CREATE ROLE limited LOGIN CONNECTION LIMIT 2")
    try:
        url = database_url.replace("//postgres@", "//limited@")
        engine = await init_db(settings=StoreSettings(database_url=url, pool_min_size=5), require_head=False)
        await (await engine.open()).ping()
        assert 1 <= len(await faults.pids(watcher)) <= 2
        await close_db()
        await faults.nobody_connected(watcher)
        await asyncio.sleep(0.1)
        assert await faults.pids(watcher) == [], "none comes late"
    finally:
        await watcher.execute("DROP ROLE limited")


async def _resolved(value):
    return value


async def test_a_busy_task_takes_turns_with_all_who_wait_for_the_only_connection(database_url):
    """It gives the connection back and asks again without a pause: the connection is there, and is somebody else's."""
    engine = await init_db(settings=StoreSettings(database_url=database_url, pool_max_size=1))
    client = await engine.open()
    calls = {"busy": 0}

    async def busy():
        while True:
            await client.ping()
            calls["busy"] += 1

    async def patient():
        for _ in range(5):
            await client.ping()

    hurrying = asyncio.create_task(busy())
    await until(lambda: _resolved(calls["busy"] > 50), within=10, what="it is busy")
    before = calls["busy"]
    async with asyncio.timeout(10):
        await asyncio.gather(*(patient() for _ in range(20)))
    taken = calls["busy"] - before
    hurrying.cancel()
    await asyncio.wait({hurrying})
    await close_db()
    assert taken <= 10, "one turn a round, of five rounds"


async def test_a_free_connection_that_the_server_has_closed_is_not_lent(database_url, watcher):
    engine = await init_db(settings=StoreSettings(database_url=database_url, pool_max_size=1))
    client = await engine.open()
    for _ in range(3):
        await client.ping()
        assert await faults.kill_backends(watcher) == 1
        await asyncio.sleep(0.05)  # until this process has heard of it
    await client.ping()
    assert (client.usage().open, client.usage().in_use) == (1, 0)
    await close_db()


@pytest.mark.parametrize(
    ("moment", "error"),
    [("autocommit", OutcomeUnknownError), ("BEGIN", UnavailableError), ("body", UnavailableError),
     ("COMMIT", OutcomeUnknownError)],
)  # fmt: skip
async def test_a_dead_flow_costs_one_call_at_whatever_moment(database_url, tmp_path, moment, error):
    async with database_proxy(database_url, tmp_path) as (flow, url):
        settings = StoreSettings(database_url=url, command_timeout=0.5, pool_max_size=5)
        engine = await init_db(settings=settings)
        await faults.acquire_all(await engine.open())

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
        await close_db()


async def test_borrowing_and_giving_back_a_free_connection_waits_for_nothing(database_url):
    """Not even for one turn of the event loop, beside that of the statement itself."""
    engine = await init_db(settings=StoreSettings(database_url=database_url))
    client = await engine.open()
    borrowing = client.acquire_connection()
    with pytest.raises(StopIteration):
        borrowing.__aenter__().send(None)
    assert client.usage().in_use == 1
    with pytest.raises(StopIteration):
        borrowing.__aexit__(None, None, None).send(None)
    assert client.usage().in_use == 0
    await close_db()
