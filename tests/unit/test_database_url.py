"""What DATABASE_URL may look like."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError
from veupath_store.servers.database_url import DatabaseTarget, parse_database_url

SECRET = "s3cr3t-word"


def target(**differences) -> DatabaseTarget:
    plain = {"hosts": (("db.example.org", 5432),), "user": "ann", "password": SECRET, "database": "store"}
    return DatabaseTarget(**{**plain, **differences})


def wanted_of(hosts) -> str:
    """The store writes: of several hosts it wants the one that it can write on."""
    return "read-write" if len(hosts) > 1 else "any"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_the_three_schemes_mean_the_same(scheme):
    assert parse_database_url(f"{scheme}://ann:{SECRET}@db.example.org/store") == target()


@pytest.mark.parametrize(
    ("authority", "hosts"),
    [
        ("h", (("h", 5432),)),
        ("h:6000", (("h", 6000),)),
        ("h1:5432,h2:5433", (("h1", 5432), ("h2", 5433))),
        ("h1,h2:5433,h3", (("h1", 5432), ("h2", 5433), ("h3", 5432))),
        ("10.0.0.1:6000", (("10.0.0.1", 6000),)),
        ("[::1]", (("::1", 5432),)),
        ("[::1]:6000", (("::1", 6000),)),
        ("[fe80::1%25eth0]:6000", (("fe80::1%eth0", 6000),)),
        ("h1:6000,[::1]:6001,[2001:db8::2]", (("h1", 6000), ("::1", 6001), ("2001:db8::2", 5432))),
        ("%2Fvar%2Frun%2Fpostgresql", (("/var/run/postgresql", 5432),)),
    ],
)
def test_one_or_several_hosts(authority, hosts):
    assert parse_database_url(f"postgresql://ann:{SECRET}@{authority}/store") == target(
        hosts=hosts, target_session_attrs=wanted_of(hosts)
    )


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ("host=/var/run/postgresql", (("/var/run/postgresql", 5432),)),
        ("host=/var/run/postgresql&port=5433", (("/var/run/postgresql", 5433),)),
        ("host=%2Fsrv%2Fa%20b", (("/srv/a b", 5432),)),
        ("host=h1:6000,h2&port=6001", (("h1", 6000), ("h2", 6001))),
        ("", (("localhost", 5432),)),
    ],
)
def test_a_socket_directory_or_hosts_as_parameter(query, hosts):
    assert parse_database_url(f"postgresql://ann:{SECRET}@/store?{query}") == target(
        hosts=hosts, target_session_attrs=wanted_of(hosts)
    )


def test_what_is_not_given_is_left_to_the_driver():
    assert parse_database_url("postgresql:///store") == DatabaseTarget(hosts=(("localhost", 5432),), database="store")


def test_the_parameters_of_libpq():
    url = (
        f"postgresql://ann:{SECRET}@db.example.org/store?sslmode=verify-full&sslrootcert=/etc/ca.pem"
        "&target_session_attrs=read-write&application_name=path%20finder"
    )
    assert parse_database_url(url) == target(
        sslmode="verify-full",
        driver_options={"sslrootcert": "/etc/ca.pem"},
        target_session_attrs="read-write",
        application_name="path finder",
    )


@pytest.mark.parametrize(
    ("query", "differences"),
    [
        ("connect_timeout=15", {"connect_timeout": 15.0}),
        ("user=bob&password=w%40rd&dbname=other", {"user": "bob", "password": "w@rd", "database": "other"}),
        ("gssencmode=disable&channel_binding=prefer", {}),
        ("sslmode=require&sslcert=/c.pem&sslkey=/k.pem", {"sslmode": "require"}),
        ("sslmode=require&sslnegotiation=direct", {"sslmode": "require"}),
        ("sslmode=require&channel_binding=require", {"sslmode": "verify-full"}),
        ("channel_binding=require", {"sslmode": "verify-full"}),
        ("channel_binding=require&sslmode=verify-ca", {"sslmode": "verify-ca"}),
        ("channel_binding=require&sslmode=require&sslrootcert=/ca.pem", {"sslmode": "require"}),
        ("sslrootcert=system", {"sslmode": "verify-full"}),
        ("sslrootcert=system&sslmode=verify-full", {"sslmode": "verify-full"}),
        ("sslmode=&sslrootcert=&options=&connect_timeout=&application_name=&port=&host=&user=&channel_binding=", {}),
    ],
)
def test_what_managed_providers_hand_out(query, differences):
    parsed = parse_database_url(f"postgresql://ann:{SECRET}@db.example.org/store?{query}")
    assert replace(parsed, driver_options={}) == target(**differences)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("sslmode=verify-full&sslrootcert=/ca.pem&sslcrl=/crl.pem", {"sslrootcert": "/ca.pem", "sslcrl": "/crl.pem"}),
        (
            "sslcert=/c.pem&sslkey=/k.pem&sslpassword=a%20b",
            {"sslcert": "/c.pem", "sslkey": "/k.pem", "sslpassword": "a b"},
        ),
        ("sslmode=require&channel_binding=require", {"sslrootcert": "system"}),
        ("sslmode=verify-full&channel_binding=require", {}),
        ("options=-c%20search_path%3Dstore%20-c%20geqo%3Doff", {"options": "-c search_path=store -c geqo=off"}),
        ("options=endpoint%3Dep-cool-name-1", {"options": "endpoint=ep-cool-name-1"}),
        ("passfile=/run/secrets/pgpass", {"passfile": "/run/secrets/pgpass"}),
        ("sslcert=&sslkey=", {}),
    ],
)
def test_what_the_driver_reads_for_itself(query, options):
    assert parse_database_url(f"postgresql://h/store?{query}").driver_options == options


def test_the_line_break_of_a_mounted_secret_is_no_part_of_the_url():
    assert parse_database_url(f"postgresql://ann:{SECRET}@db.example.org/store\n") == target()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_user_password_and_database_can_be_written_percent_encoded(word):
    encoded = "".join(f"%{byte:02X}" for byte in word.encode())
    parsed = parse_database_url(f"postgresql://{encoded}:{encoded}@h/{encoded}")
    assert (parsed.user, parsed.password, parsed.database) == (word, word, word)


@pytest.mark.parametrize("password", ["pa#ss", "pa:ss", "pa@ss", "pa%40ss", "pa[ss", "pa&=ss", "paßword"])
def test_most_passwords_need_no_encoding(password):
    assert parse_database_url(f"postgresql://ann:{password}@h/store").password == password.replace("%40", "@")


def test_embedded_paths_may_be_absolute_relative_or_at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    read = {path: parse_database_url(f"embedded:{path}").embedded for path in ("/srv/pg", "data/pg", "~/pg", "a b%20c")}
    assert read == {
        "/srv/pg": Path("/srv/pg"),
        "data/pg": tmp_path.resolve() / "data/pg",
        "~/pg": Path("/home/ann/pg"),
        "a b%20c": tmp_path.resolve() / "a b%20c",
    }


WRONG = {
    f"mysql://ann:{SECRET}@h/store": "scheme",
    f"ann:{SECRET}@h/store": "scheme",
    f"postgresql:/ann:{SECRET}@h/store": "scheme",
    f"Server=h;Password={SECRET}": "scheme",
    "embedded:": "data directory",
    f"embedded:~{SECRET}/pg": "home directory",
    f"embedded:a\0{SECRET}": "the path",
    f"postgresql://ann:{SECRET}@h": "names no database",
    f"postgresql://ann:{SECRET}@h/": "names no database",
    f"postgresql://ann:{SECRET}@h:port/store": "port",
    f"postgresql://ann:{SECRET}@h:0/store": "port",
    f"postgresql://ann:{SECRET}@h:65536/store": "port",
    f"postgresql://ann:{SECRET}@h:{'9' * 5000}/store": "port",
    f"postgresql://ann:{SECRET}@h1,,h2/store": "host is empty",
    f"postgresql://ann:{SECRET}@::1/store": "in brackets",
    f"postgresql://ann:{SECRET}@::1:5432/store": "in brackets",
    f"postgresql://ann:1/{SECRET}@h/store": "percent-encode",
    f"postgresql://ann:1?{SECRET}=1@h/store": "percent-encode",
    f"postgresql://ann:%00{SECRET}@h/store": "percent-encode",
    f"postgresql://ann:\udcfc{SECRET}@h/store": "in UTF-8",
    f"postgresql://ann:%FC{SECRET}@h/store": "in UTF-8",
    f"postgresql://ann:{SECRET}@h/store?sslmode=on": "sslmode must be one of disable, allow",
    f"postgresql://ann:{SECRET}@h/store?sslmode=disable&sslrootcert=/ca.pem": "sslrootcert needs",
    f"postgresql://ann:{SECRET}@h/store?sslrootcert=/ca.pem": "sslrootcert needs",
    f"postgresql://ann:{SECRET}@h/store?target_session_attrs=master": "target_session_attrs must be one of any",
    f"postgresql://ann:{SECRET}@h/store?pool_size=5": "unknown parameter 'pool_size'",
    f"postgresql://ann:{SECRET}@h/store?sslmode=no-verify": "no-verify is called require here",
    f"postgresql://ann:{SECRET}@h/store?ssl=true": "'ssl'; write sslmode=require",
    f"postgresql://ann:{SECRET}@h/store?pgbouncer=true": "set VEUPATH_STORE_PGBOUNCER=true",
    f"postgresql://ann:{SECRET}@h/store?connection_limit=1": "set VEUPATH_STORE_POOL_MAX_SIZE",
    f"postgresql://ann:{SECRET}@h/store?schema=x": "options=-csearch_path%3DNAME",
    f"postgresql://ann:{SECRET}@h/store?keepalives_idle=5": "remove it: the store sets keep-alives",
    f"postgresql://ann:{SECRET}@h/store?service=x": "write into the URL what",
    f"postgresql://ann:{SECRET}@h/store?hostaddr=x": "known are host, port, user",
    f"postgresql://ann:{SECRET}@h/store?{SECRET[1:]}=x&ssl=1": "unknown parameter",
    f"postgresql://ann:{SECRET}@h/store?connect_timeout=0": "connect_timeout must be whole seconds",
    f"postgresql://ann:{SECRET}@h/store?connect_timeout=1.5": "connect_timeout must be whole seconds",
    f"postgresql://ann:{SECRET}@h/store?connect_timeout={'9' * 5000}": "connect_timeout must be whole seconds",
    f"postgresql://ann:{SECRET}@h/store?gssencmode=require": "gssencmode must be one of disable, prefer",
    f"postgresql://ann:{SECRET}@h/store?sslnegotiation=x": "sslnegotiation must be one of",
    f"postgresql://ann:{SECRET}@h/store?channel_binding=x": "channel_binding must be one of",
    f"postgresql://ann:{SECRET}@h/store?channel_binding=require&sslmode=disable": "needs TLS with a verified",
    f"postgresql://ann:{SECRET}@h/store?sslrootcert=system&sslmode=require": "must be one of verify-full",
}


@pytest.mark.parametrize("variable", ["DATABASE_URL", "MIGRATION_DATABASE_URL"])
@pytest.mark.parametrize(("url", "says"), WRONG.items())
def test_a_wrong_url_is_refused_with_a_reason_that_shows_nothing_of_it(variable, url, says):
    given = {"DATABASE_URL": "postgresql://h/store", variable: url}
    with pytest.raises(ConfigurationError) as refusal:
        StoreSettings(**given)
    message = str(refusal.value)
    assert message.startswith(f"{variable} cannot be used: ")
    assert says in message
    assert url.removeprefix("embedded:") not in message or url == "embedded:"
    assert SECRET not in message


@given(st.text())
def test_any_text_after_the_scheme_is_read_or_refused(text):
    try:
        parsed = parse_database_url(f"postgresql://{text}")
    except ValueError:
        return
    assert parsed.hosts
    assert parsed.database


@pytest.mark.parametrize("query", ["", f"sslpassword={SECRET}", f"password={SECRET}"])
def test_no_password_is_in_the_repr(query):
    assert SECRET not in repr(parse_database_url(f"postgresql://ann:{SECRET}@h/store?{query}"))
