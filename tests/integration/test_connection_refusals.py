"""Each way in which a real server does not let the store in: which error it is, and that everybody says the same."""

import asyncio
import json
import warnings

import pytest

from tests.support.redis_ports import free_port
from tests.support.refusals import STRANGER, as_stranger, assert_passing, assert_permanent, refused, used
from tests.support.servers import until
from tests.support.tls import PASSPHRASE, PASSWORD, TlsServer, programs
from veupath_store import StoreSettings, init_db
from veupath_store.errors import ConfigurationError, UnavailableError

pytestmark = pytest.mark.large


@pytest.fixture(scope="module")
def tls():
    server = TlsServer(programs(), free_port())
    yield server
    server.close()


@pytest.fixture
def certificates(tls):
    return tls.certificates


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home, so that nobody's own certificates and passwords count."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
async def nothing_left():
    """A connection that was refused is closed, at the latest when the server has answered the end of TLS."""
    yield
    transports = asyncio.get_running_loop()._transports
    await until(lambda: all(it._sock is None for it in transports.values()), 10, "every connection is closed")


# roles, passwords, databases, privileges


async def test_a_wrong_password(tls):
    await assert_permanent(tls.url().replace(PASSWORD, "wrong"), "refused the role or its password", '"ann"')


@pytest.mark.parametrize(
    ("role", "database", "parts"),
    [
        ("nobody", "store", ("refused the role or its password", '"nobody"')),
        ("nobody", "trusting", ("no such role that may log in", "create it with LOGIN")),
        ("without_login", "trusting", ("no such role that may log in", "create it with LOGIN")),
        ("postgres", "nowhere", ("no such database", '"nowhere"', "Create the database")),
        ("ann", "closed", ("may not use the database", "GRANT CONNECT ON DATABASE")),
    ],
)
async def test_a_role_or_a_database_that_is_not_there_or_may_not_be_used(tls, role, database, parts):
    await assert_permanent(tls.url(role, database), *parts)


async def test_a_client_that_pg_hba_does_not_admit(tls):
    await assert_permanent(tls.url(database="rejected"), "refused this client", '"rejected"', "pg_hba.conf")
    await assert_permanent(tls.url(database="template1"), "refused this client", '"template1"', "pg_hba.conf")
    await assert_permanent(tls.url(database="tls_only", sslmode="disable"), "refused this client", "sslmode=require")
    assert await used(tls.url(database="tls_only"))


async def test_a_user_of_the_machine_that_is_another_role(tls):
    url = f"postgresql://somebody@/store?host={tls.folder}&port={tls.port}"
    await assert_permanent(url, f"{tls.folder}:{tls.port}: ", "could not authenticate the role", "pg_hba.conf")


async def test_a_halted_database_may_serve_later(tls):
    await assert_passing(tls.url("postgres", "halted"), "admits no one to the database")


async def test_session_settings_of_the_url_are_used_and_wrong_ones_are_refused(tls):
    url = tls.url(options="-c%20search_path%3Dstore%20-c%20work_mem%3D5MB")
    assert await used(url, "SELECT current_setting('search_path') || ' ' || current_setting('work_mem')") == "store 5MB"
    plain = await used(tls.url(), "SHOW statement_timeout")
    assert await used(tls.url(options="-c%20statement_timeout%3D1"), "SHOW statement_timeout") == plain
    await assert_permanent(tls.url(options="-c%20nix%3D1"), "does not know a session setting", '"nix"', "options")
    await assert_permanent(tls.url(options="-c%20log_statement%3Dall"), "may not change", '"log_statement"', "options")


# passwords that are not in the URL


async def test_the_url_s_password_wins_over_the_variable_and_that_over_the_file(tls, home, monkeypatch):
    file = home / "passwords"
    file.write_text(f"*:*:*:ann:{PASSWORD}\n")
    file.chmod(0o600)
    bare = tls.url().replace(f":{PASSWORD}@", "@")
    await assert_permanent(bare, "refused the role or its password", "PGPASSFILE")
    assert await used(f"{bare}&passfile={file}")
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert await used(bare)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert await used(tls.url())
    await assert_permanent(bare, "refused the role or its password", "PGPASSWORD")


async def test_other_variables_of_libpq_do_not_count(tls, monkeypatch):
    for name, value in {
        "PGHOST": "nowhere.invalid",
        "PGPORT": "1",
        "PGDATABASE": "nowhere",
        "PGOPTIONS": "-c nix=1",
        "PGTARGETSESSIONATTRS": "standby",
        "PGCHANNELBINDING": "require",
        "PGGSSENCMODE": "require",
        "PGCONNECT_TIMEOUT": "0",
        "PGSERVICE": "nowhere",
        "PGAPPNAME": "else",
    }.items():
        monkeypatch.setenv(name, value)
    asked = "SELECT current_database() || ' as ' || current_user || ' by ' || current_setting('application_name')"
    assert await used(tls.url(), asked) == "store as ann by veupath-store"
    monkeypatch.setenv("PGUSER", "ann")
    assert await used(tls.url().replace(f"ann:{PASSWORD}", f":{PASSWORD}"), asked) == "store as ann by veupath-store"
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert await used(tls.url()) is False
    assert await used(tls.url(sslmode="require")), "the URL wins"
    monkeypatch.setenv("PGSSLMODE", "")
    assert await used(tls.url()), "an empty variable is none"
    monkeypatch.setenv("PGSSLMODE", "no")
    await assert_permanent(tls.url(), "`sslmode` parameter must be one of", "the PG… variables")


async def test_a_password_file_that_cannot_be_used(tls, home):
    bare = tls.url().replace(f":{PASSWORD}@", "@")
    await assert_permanent(f"{bare}&passfile={home}/none", f"passfile is {home}/none", "cannot read")
    file = home / ".pgpass"
    file.write_text(f"*:*:*:ann:{PASSWORD}\n")
    file.chmod(0o644)
    with warnings.catch_warnings(record=True):  # the driver's
        warnings.simplefilter("always")
        await assert_permanent(bare, "refused the role or its password", "~/.pgpass", "0600")
    file.chmod(0o600)
    assert await used(bare)


# the server's certificate


@pytest.fixture
async def shown(tls):
    """Have the server show another certificate, until the end of the test."""
    yield tls.show
    await tls.show("server")


async def test_a_certificate_that_is_right(tls, certificates, monkeypatch):
    assert await used(tls.url(sslmode="verify-full", sslrootcert=certificates["ca.crt"]))
    assert await used(tls.url(host="127.0.0.1", sslmode="verify-full", sslrootcert=certificates["ca.crt"]))
    monkeypatch.setenv("PGSSLROOTCERT", certificates["ca.crt"])
    assert await used(tls.url(sslmode="verify-full"))


async def test_the_machine_s_authorities(tls, certificates, monkeypatch):
    await assert_permanent(tls.url(sslrootcert="system"), "could not be verified", "sslrootcert")
    await assert_permanent(tls.url(sslmode="require", channel_binding="require"), "could not be verified")
    monkeypatch.setenv("SSL_CERT_FILE", certificates["ca.crt"])  # how OpenSSL is shown other ones
    assert await used(tls.url(sslrootcert="system"))
    assert await used(tls.url(sslmode="require", channel_binding="require"))


async def test_a_certificate_of_an_unknown_authority(tls, certificates):
    for mode in ("require", "verify-ca", "verify-full"):
        url = tls.url(sslmode=mode, sslrootcert=certificates["other-ca.crt"])
        await assert_permanent(url, "certificate could not be verified", "sslrootcert=system")


async def test_a_certificate_for_another_host_name(tls, certificates, shown):
    await shown("elsewhere")
    root = certificates["ca.crt"]
    for host in ("localhost", "127.0.0.1"):
        url = tls.url(host=host, sslmode="verify-full", sslrootcert=root)
        await assert_permanent(url, "certificate is for another host name", "sslmode=verify-ca")
    assert await used(tls.url(sslmode="verify-ca", sslrootcert=root))


async def test_a_certificate_that_has_expired(tls, certificates, shown):
    await shown("expired")
    url = tls.url(sslmode="verify-full", sslrootcert=certificates["ca.crt"])
    await assert_permanent(url, "certificate has expired", "new certificate")
    with pytest.raises(ConfigurationError, match="certificate has expired"):  # also where another host is down
        await init_db(settings=StoreSettings(database_url=url.replace("@", "@127.0.0.1:1,")))
    assert await used(tls.url(sslmode="require")), "which verifies nothing"


async def test_a_server_without_tls(tls, certificates, shown):
    await shown(None)
    await assert_permanent(tls.url(sslmode="require"), "does not offer TLS", "ssl = on")
    url = tls.url(sslmode="verify-full", sslrootcert=certificates["ca.crt"])
    await assert_permanent(url, "does not offer TLS", "ssl = on")
    assert await used(tls.url()) is False


async def test_a_version_of_tls_that_the_server_does_not_have(tls, monkeypatch):
    monkeypatch.setenv("PGSSLMINPROTOCOLVERSION", "TLSv1")
    monkeypatch.setenv("PGSSLMAXPROTOCOLVERSION", "TLSv1.1")
    with warnings.catch_warnings():  # Python's, of versions so old
        warnings.simplefilter("ignore")
        await assert_permanent(tls.url(sslmode="require"), "no version of TLS", "PGSSLMAXPROTOCOLVERSION")


async def test_authorities_that_cannot_be_read(tls, certificates, home, monkeypatch):
    await assert_permanent(tls.url(sslmode="verify-full"), "needs the certificates of the authorities", "system")
    for file, why in ((home / "none", "cannot read: No such file"), (home, "cannot read: Is a directory")):
        url = tls.url(sslmode="verify-full", sslrootcert=file)
        await assert_permanent(url, f"sslrootcert is {file}", why, "PGSSLROOTCERT")
    (home / "text").write_text("no certificate")
    await assert_permanent(tls.url(sslmode="require", sslrootcert=home / "text"), "holds no PEM certificates")
    monkeypatch.setenv("PGSSLROOTCERT", str(home / "none"))
    await assert_permanent(tls.url(sslmode="require"), f"sslrootcert is {home}/none", "PGSSLROOTCERT")
    assert await used(tls.url(sslmode="require", sslrootcert=certificates["ca.crt"])), "the URL wins"


# the client's certificate


def certified(tls: TlsServer, certificate: str = "certified", key: str = "certified", **query: object) -> str:
    files = {"sslcert": tls.certificates[f"{certificate}.crt"], "sslkey": tls.certificates[f"{key}.key"]}
    return tls.url("certified", **{"sslmode": "require", **files, **query})


async def test_a_client_certificate_from_the_url_or_the_variables_or_the_home(tls, certificates, home, monkeypatch):
    ca = certificates["ca.crt"]
    name = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert await used(certified(tls), name) == "/CN=certified"
    assert await used(certified(tls, sslmode="verify-full", sslrootcert=ca), name) == "/CN=certified"
    assert await used(certified(tls, sslmode="prefer"), name) == "/CN=certified"
    monkeypatch.setenv("SSL_CERT_FILE", ca)
    assert await used(certified(tls, sslmode="", sslrootcert="system"), name) == "/CN=certified"
    bare = tls.url("certified", sslmode="verify-full", sslrootcert=ca)
    await assert_permanent(bare, "refused this client", "client certificate", "sslcert and sslkey")
    (home / ".postgresql").mkdir()
    for kind in ("crt", "key"):
        (home / ".postgresql" / f"postgresql.{kind}").symlink_to(certificates[f"certified.{kind}"])
    assert await used(bare, name) == "/CN=certified"
    (home / ".postgresql").rename(home / "elsewhere")
    monkeypatch.setenv("PGSSLCERT", certificates["certified.crt"])
    monkeypatch.setenv("PGSSLKEY", certificates["certified.key"])
    assert await used(bare, name) == "/CN=certified", "sslrootcert in the URL does not hide the variables"
    monkeypatch.setenv("PGSSLCERT", "/none")
    await assert_permanent(bare, "sslcert is /none", "PGSSLCERT")
    assert await used(certified(tls), name) == "/CN=certified", "the URL wins"


async def test_a_client_certificate_that_the_server_does_not_trust(tls, monkeypatch):
    await assert_permanent(certified(tls, "server", "server"), "could not authenticate the role", '"certified"')
    # With TLS 1.3 the server closes the connection at once, and its reason may be lost with it.
    monkeypatch.setenv("PGSSLMAXPROTOCOLVERSION", "TLSv1.2")
    await assert_permanent(certified(tls, "stranger", "stranger"), "refused the client certificate", "sslkey")


async def test_a_key_that_cannot_be_used(tls, certificates, home):
    key = home / "key"
    await assert_permanent(certified(tls, sslkey=key), f"sslkey is {key}", "cannot read: No such file", "PGSSLKEY")
    key.write_text("no key")
    await assert_permanent(certified(tls, sslkey=key), "sslcert is", f"({key}) no PEM file")
    await assert_permanent(certified(tls, key="server"), "server.key, which is not the key of", "certified.crt")


async def test_a_key_with_a_passphrase(tls):
    await assert_permanent(certified(tls, key="locked"), "locked.key, whose passphrase is not sslpassword")
    await assert_permanent(certified(tls, key="locked", sslpassword="wrong"), "whose passphrase is not sslpassword")
    assert await used(certified(tls, key="locked", sslpassword=PASSPHRASE))


async def test_a_key_that_everybody_may_read_is_used(tls, certificates, home):
    """Unlike libpq: a Kubernetes secret is mounted so."""
    key = home / "key"
    key.write_bytes((tls.folder / "certified.key").read_bytes())
    key.chmod(0o644)
    assert await used(certified(tls, sslkey=key))


# users and homes


def test_a_user_without_a_name(tls):
    nameless = f"postgresql://localhost:{tls.port}/trusting"
    said = as_stranger(nameless)
    assert said.startswith(f"ConfigurationError The database's URL names no role, and this process's user ({STRANGER})")
    assert "set PGUSER" in said
    assert as_stranger(nameless, PGUSER="postgres") == "connected as postgres"
    assert as_stranger(nameless, USER="postgres") == "connected as postgres"
    assert as_stranger(tls.url()) == "connected as ann"


def test_a_home_that_the_user_may_not_read(tls, home):
    home.chmod(0o700)
    said = as_stranger(tls.url(), HOME=str(home))
    assert said.startswith(f"ConfigurationError TLS looks for certificates in {home}/.postgresql, and this process's")
    assert "set HOME to a directory of that user" in said
    assert as_stranger(tls.url(sslmode="disable"), HOME=str(home)) == "connected as ann"
    assert as_stranger(tls.url(), HOME="/nonexistent") == "connected as ann"
    assert as_stranger(tls.url(), HOME="") == "connected as ann"


def test_a_folder_and_a_password_file_in_the_home_that_the_user_may_not_read(tls):
    home = tls.folder / "home"
    (home / ".postgresql").mkdir(parents=True)
    (home / ".pgpass").write_text(f"*:*:*:ann:{PASSWORD}\n")
    for closed in (home / ".postgresql", home / ".pgpass"):
        closed.chmod(0o700 if closed.is_dir() else 0o600)
    said = as_stranger(tls.url(), HOME=str(home))
    assert said.startswith(f"ConfigurationError TLS looks for certificates in {home}/.postgresql, and this process's")
    (home / ".postgresql").rmdir()
    assert as_stranger(tls.url(), HOME=str(home)) == "connected as ann"
    said = as_stranger(tls.url().replace(f":{PASSWORD}@", "@"), HOME=str(home))
    assert "refused the role or its password" in said
    assert "~/.pgpass), which only this user may read (mode 0600)" in said


def test_a_key_that_the_user_may_not_read(tls):
    said = as_stranger(certified(tls), HOME="/nonexistent")
    assert said.startswith(f"ConfigurationError sslkey is {tls.certificates['certified.key']}, ")
    assert f"({STRANGER}) cannot read: Permission denied" in said


# hosts


async def test_hosts_that_are_not_there():
    await assert_passing("postgresql://me@127.0.0.1:1/db", "127.0.0.1:1: ", "refused, as no server listens there")
    await assert_passing("postgresql://me@localhost:1/db", "localhost:1: ", "refused, as no server listens there")
    await assert_passing("postgresql://me@/db?host=/nowhere", "/nowhere:5432: ", "there is no server's socket")
    await assert_passing("postgresql://me@255.255.255.255/db", "no network leads there")
    await assert_permanent("postgresql://me@a..b/db", "this is no host name", "Correct the host")
    error = await refused("postgresql://me@no.such.host.invalid/db")
    assert type(error) is UnavailableError
    # Without a network there is no name server either.
    assert "there is no host of this name" in str(error) or "could not be looked up" in str(error)


async def test_a_silent_host_says_how_long_it_was_waited_for(silent):
    await assert_passing(f"postgresql://me@127.0.0.1:{silent}/db", "no answer within 0.", connect_timeout=0.3)


async def test_a_server_of_another_kind_or_that_hangs_up():
    async def hang_up(_, writer):
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        for mode in ("disable", "prefer", "require"):
            url = f"postgresql://me@127.0.0.1:{port}/db?sslmode={mode}"
            await assert_passing(url, "closed the connection while it was being opened")


def test_the_command_line_says_the_same(tls, call):
    url = tls.url(database="closed")
    _, _, said = call("migrate", DATABASE_URL=url)
    _, printed, _ = call("check", "--json", DATABASE_URL=url)
    [hosts] = [finding for finding in json.loads(printed)["findings"] if finding["name"] == "hosts"]
    assert hosts["details"] == [said.strip()]
    assert said.startswith(f"localhost:{tls.port}: the role may not use the database: ")
