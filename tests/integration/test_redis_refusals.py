"""Why a Redis does not accept a connection: what no repeat can cure, what may pass, and what to do for each.

And how one that was accepted is watched."""

import asyncio
import pickle
import socket
import sys
import traceback
from contextlib import asynccontextmanager, closing

import pytest
from pydantic import SecretStr

from tests.support.checks import NOWHERE
from tests.support.redis_ports import RedisOnPort, free_port, program_with_tls
from tests.support.tls import Certificates
from veupath_store.check.log import about_log
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, UnavailableError
from veupath_store.events.log.log import EventLog
from veupath_store.servers.dead_peers import KEEPALIVE
from veupath_store.values import Level

SECRET = "s3cr3t"


def settings(url: str, **options) -> StoreSettings:
    return StoreSettings(database_url=NOWHERE, redis_url=url, **{"log_timeout": 5.0, **options})


@asynccontextmanager
async def opened(url: str, **options):
    log = EventLog(settings(url, **options))
    try:
        yield log
    finally:
        await log.close()


async def ping(url: str, **options) -> None:
    async with opened(url, **options) as log:
        await log.ping()


async def assert_refused(url: str, kind: type[Exception], *parts: str) -> None:
    """The call and `check` say the same."""
    with pytest.raises(kind) as caught:
        await ping(url)
    assert type(caught.value) is kind
    assert [part for part in parts if part not in str(caught.value)] == []
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    complete, findings = await about_log(settings(url))
    assert not complete
    assert findings[0].level is Level.FAILURE
    assert all(part in findings[0].message for part in parts)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    program_with_tls()
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.make()
    return made


def tls_server(certificates, shown: str, clients: str = "no"):
    """For a block, a server that shows this certificate, and wants one of its clients or not."""
    files = ("cert-file", f"{shown}.crt"), ("key-file", f"{shown}.key"), ("ca-cert-file", "ca.crt")
    options = ("tls-port {port}", "port 0", f"tls-auth-clients {clients}")
    named = (f"tls-{name} {certificates[file]}" for name, file in files)
    return closing(RedisOnPort(*options, *named, found=program_with_tls()))


@pytest.fixture(scope="module")
def tls(certificates):
    with tls_server(certificates, "server") as server:
        yield server


@pytest.fixture(scope="module")
def strict(certificates):
    """A server that wants a client certificate."""
    with tls_server(certificates, "server", clients="yes") as server:
        yield server


@pytest.fixture(scope="module")
def plain():
    with closing(RedisOnPort()) as server:
        yield server


def tls_url(server, host="localhost", **query) -> str:
    parameters = "&".join(f"{name}={value}" for name, value in query.items())
    return f"rediss://{host}:{server.port}?{parameters}"


async def test_a_certificate_of_a_trusted_authority_is_taken(tls, certificates):
    await ping(tls_url(tls, ssl_ca_certs=certificates["ca.crt"]))
    await ping(tls_url(tls, ssl_cert_reqs="none"))


async def test_a_certificate_of_another_authority(tls, certificates):
    for url in (tls_url(tls), tls_url(tls, ssl_ca_certs=certificates["other-ca.crt"])):
        await assert_refused(url, ConfigurationError, "could not be verified", "Set ssl_ca_certs")


async def test_a_certificate_for_another_host_name(tls, certificates):
    url = tls_url(tls, host="127.0.0.2", ssl_ca_certs=certificates["ca.crt"])
    await assert_refused(url, ConfigurationError, "is for another host name", "ssl_check_hostname=false")
    await ping(f"{url}&ssl_check_hostname=false")


async def test_an_authority_without_key_usage_is_refused_by_newer_pythons_only(certificates):
    with tls_server(certificates, "sloppy") as server:
        url = tls_url(server, ssl_ca_certs=certificates["sloppy-ca.crt"])
        if sys.version_info >= (3, 13):
            await assert_refused(url, ConfigurationError, "lacks what RFC 5280 asks for", "since 3.13")
        else:
            await ping(url)


async def test_a_certificate_that_has_expired(certificates):
    with tls_server(certificates, "expired") as server:
        url = tls_url(server, ssl_ca_certs=certificates["ca.crt"])
        await assert_refused(url, ConfigurationError, "has expired", "new certificate")


async def test_a_client_certificate_that_is_missing_or_of_another_authority(strict, certificates):
    url = tls_url(strict, ssl_ca_certs=certificates["ca.crt"])
    foreign = f"{url}&ssl_certfile={certificates['stranger.crt']}&ssl_keyfile={certificates['stranger.key']}"
    for refused in (url, foreign):
        await assert_refused(refused, ConfigurationError, "refused the client certificate, or asks for one")
    await ping(f"{url}&ssl_certfile={certificates['certified.crt']}&ssl_keyfile={certificates['certified.key']}")


async def test_files_that_cannot_be_used_are_told_from_the_network(tls, certificates):
    url = tls_url(tls, ssl_ca_certs=certificates["ca.crt"])
    pair = f"{url}&ssl_certfile={certificates['certified.crt']}&ssl_keyfile={certificates['server.key']}"
    await assert_refused(pair, ConfigurationError, "file of TLS cannot be used", "ssl_keyfile")
    for file, *parts in (
        (certificates["ca.key"], "file of TLS cannot be used", "ssl_ca_certs"),
        (certificates.folder, "file of TLS is missing, or this user may not read it"),
        (certificates["none.crt"], "none.crt"),
    ):
        await assert_refused(tls_url(tls, ssl_ca_certs=file), ConfigurationError, *parts)


async def test_tls_to_a_port_without_it(plain):
    url = f"rediss://{plain.place}"
    await assert_refused(url, ConfigurationError, "it answers, but not in TLS", "Write redis://")


async def test_no_tls_to_a_port_that_wants_it(tls, strict):
    for server in (tls, strict):
        await assert_refused(f"redis://{server.place}", ConfigurationError, "it wants TLS", "Write rediss://")


async def test_a_port_where_nobody_listens_and_a_host_that_is_not_there():
    port = free_port()
    for scheme in ("redis", "rediss"):
        refused = f"{scheme}://127.0.0.1:{port}"
        await assert_refused(refused, UnavailableError, f"127.0.0.1:{port}: the connection was refused", "Start the se")
    await assert_refused("redis://nowhere.invalid", UnavailableError, "nowhere.invalid:6379: there is no host of this")
    await assert_refused(f"redis://{'a' * 70}.example", ConfigurationError, "this is no host name")
    await assert_refused("unix:///nowhere/redis.sock", UnavailableError, "/nowhere/redis.sock: there is no server's so")


async def test_a_server_that_does_not_answer_is_told_from_one_that_refuses(plain):
    with plain.frozen():
        for scheme in ("redis", "rediss"):
            with pytest.raises(UnavailableError, match="did not answer within the log's timeout"):
                await ping(f"{scheme}://{plain.place}", log_timeout=0.8)


async def test_a_cluster_is_refused_by_name():
    with closing(RedisOnPort("cluster-enabled yes")) as server:
        await assert_refused(server.url, ConfigurationError, "Redis Cluster (cluster_enabled:1)", "no cluster's")
        with server.client() as beside:
            beside.execute_command("ACL", "SETUSER", "ann", "on", f">{SECRET}", "~*", "+@all", "-info", "-cluster")
        url = server.url.replace("://", f"://ann:{SECRET}@")
        await assert_refused(url, ConfigurationError, "Redis Cluster")


@pytest.mark.parametrize("user", ["", "ann", "default"])
async def test_a_refused_password(user, private_redis):
    url = private_redis.url.replace("unix://", f"unix://{user}:{SECRET}@")
    with private_redis.configured(requirepass="another"):
        for tried in (url, private_redis.url):
            with pytest.raises(ConfigurationError, match="REDIS_URL") as caught:
                await ping(tried)
            assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_the_right_password_is_taken(private_redis):
    with private_redis.configured(requirepass="a@b/c"):
        for user in ("", "default"):
            await ping(private_redis.url.replace("unix://", f"unix://{user}:a%40b%2Fc@"))


async def test_a_database_that_is_not_there(private_redis):
    await assert_refused(f"{private_redis.url}?db=99999", ConfigurationError, "REDIS_URL")


async def test_no_way_of_showing_a_log_shows_the_password(private_redis):
    log = EventLog(settings(f"redis://:{SECRET}@127.0.0.1:1"))
    assert SECRET not in repr(log) + repr(log._client) + repr(log._client._target)
    assert isinstance(settings(private_redis.url).redis_url, SecretStr)


# passwords that are asked for


@pytest.fixture
def guarded(plain):
    with plain.client() as beside:
        beside.execute_command("ACL", "SETUSER", "ann", "reset", "on", ">first", "~*", "+@all")
        yield beside
        beside.execute_command("ACL", "DELUSER", "ann")


def rotate(beside, word: str) -> None:
    """The user has another password, and its connections are closed."""
    beside.execute_command("ACL", "SETUSER", "ann", "resetpass", f">{word}")
    beside.execute_command("CLIENT", "KILL", "USER", "ann")


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_each_new_connection_asks_for_the_password(guarded, plain, is_awaited):
    word, asked = "first", 0

    def password():
        nonlocal asked
        asked += 1
        return word

    async def later():
        await asyncio.sleep(0)
        return password()

    url = f"redis://ann:old@{plain.place}"
    async with opened(url, redis_password=later if is_awaited else password) as log:
        await asyncio.gather(*(log.ping() for _ in range(3)))
        assert asked == 3
        await log.ping()
        assert asked == 3, "an open connection is used again"
        word = "second"
        rotate(guarded, word)
        await log.ping()
        assert asked == 4


async def test_a_password_that_became_stale_between_asking_and_showing_it_is_asked_for_once_more(guarded, plain):
    words = ["stale", "first", "wrong", "wrong", "first"]
    async with opened(f"redis://ann:@{plain.place}", redis_password=lambda: words.pop(0)) as log:
        await log.ping()
        assert len(words) == 3
        rotate(guarded, "first")
        with pytest.raises(ConfigurationError, match="refused the user or its password"):
            await log.ping()
    assert words == ["first"]


async def test_where_there_is_no_password_to_be_had_the_call_may_be_repeated(plain):
    def password():
        raise LookupError(SECRET)

    with pytest.raises(UnavailableError, match="redis_password raised LookupError") as caught:
        await ping(plain.url, redis_password=password)
    assert SECRET not in str(caught.value)


def test_a_password_from_code_is_no_variable_and_not_shown(monkeypatch):
    monkeypatch.setenv("VEUPATH_STORE_REDIS_PASSWORD", SECRET)
    with pytest.raises(ConfigurationError, match="a password stands in REDIS_URL") as caught:
        settings("redis://127.0.0.1")
    assert SECRET not in str(caught.value)
    monkeypatch.delenv("VEUPATH_STORE_REDIS_PASSWORD")
    made = settings("redis://127.0.0.1", redis_password=str)
    assert pickle.loads(pickle.dumps(made)).redis_password is str
    assert "redis_password" not in made.model_dump()


async def test_a_connection_that_a_firewall_forgets_while_it_idles_is_noticed_before_a_call_uses_it():
    """As the one of an adoption is, from its first look until the logs are copied."""
    with closing(RedisOnPort()) as server:
        async with opened(server.url) as log:
            await log.ping()
            [idle] = log._client._idle
            connected = idle._writer.transport.get_extra_info("socket")
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == KEEPALIVE["interval"]
