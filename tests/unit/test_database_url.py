"""What DATABASE_URL may look like."""

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


READ = {
    **{
        f"{scheme}://ann:{SECRET}@db.example.org/store": {}
        for scheme in ("postgres", "postgresql", "postgresql+asyncpg")
    },
    f"postgresql://ann:{SECRET}@db.example.org/store\n": {},  # of a mounted secret
    "postgresql:///store": {"hosts": (("localhost", 5432),), "user": None, "password": None},  # the driver's to know
}
HOSTS = {
    "h/store": (("h", 5432),),
    "h:6000/store": (("h", 6000),),
    "h1:5432,h2:5433/store": (("h1", 5432), ("h2", 5433)),
    "h1,h2:5433,h3/store": (("h1", 5432), ("h2", 5433), ("h3", 5432)),
    "10.0.0.1:6000/store": (("10.0.0.1", 6000),),
    "[::1]/store": (("::1", 5432),),
    "[::1]:6000/store": (("::1", 6000),),
    "[fe80::1%25eth0]:6000/store": (("fe80::1%eth0", 6000),),
    "h1:6000,[::1]:6001,[2001:db8::2]/store": (("h1", 6000), ("::1", 6001), ("2001:db8::2", 5432)),
    "%2Fvar%2Frun%2Fpostgresql/store": (("/var/run/postgresql", 5432),),
    "/store?host=/var/run/postgresql": (("/var/run/postgresql", 5432),),
    "/store?host=/var/run/postgresql&port=5433": (("/var/run/postgresql", 5433),),
    "/store?host=%2Fsrv%2Fa%20b": (("/srv/a b", 5432),),
    "/store?host=h1:6000,h2&port=6001": (("h1", 6000), ("h2", 6001)),
    "/store": (("localhost", 5432),),
}
PARAMETERS = {
    "target_session_attrs=read-write&application_name=path%20finder": {
        "target_session_attrs": "read-write",
        "application_name": "path finder",
    },
    "connect_timeout=15": {"connect_timeout": 15.0},
    "user=bob&password=w%40rd&dbname=other": {"user": "bob", "password": "w@rd", "database": "other"},
    "gssencmode=disable&channel_binding=prefer": {},
    "channel_binding=require&sslmode=verify-ca": {"sslmode": "verify-ca"},
    "sslmode=&sslrootcert=&options=&connect_timeout=&application_name=&port=&host=&user=&channel_binding=": {},
    "sslcert=&sslkey=": {},
}
OF_THE_DRIVER = {
    "sslmode=require&sslcert=/c.pem&sslkey=/k.pem": ("require", {"sslcert": "/c.pem", "sslkey": "/k.pem"}),
    "sslmode=require&sslnegotiation=direct": ("require", {"sslnegotiation": "direct"}),
    "sslmode=prefer&options=endpoint%3Dep-cool-name-1": ("prefer", {"options": "endpoint=ep-cool-name-1"}),
    "sslmode=require&channel_binding=require": ("verify-full", {"sslrootcert": "system"}),
    "channel_binding=require": ("verify-full", {"sslrootcert": "system"}),
    "channel_binding=require&sslmode=require&sslrootcert=/ca.pem": ("require", {"sslrootcert": "/ca.pem"}),
    "sslrootcert=system": ("verify-full", {"sslrootcert": "system"}),
    "sslrootcert=system&sslmode=verify-full": ("verify-full", {"sslrootcert": "system"}),
    "sslmode=verify-full&sslrootcert=/ca.pem&sslcrl=/crl.pem": (
        "verify-full",
        {"sslrootcert": "/ca.pem", "sslcrl": "/crl.pem"},
    ),
    "sslmode=require&sslpassword=a%20b": ("require", {"sslpassword": "a b"}),
    "sslmode=verify-full&channel_binding=require": ("verify-full", {}),
    "sslmode=prefer&options=-c%20search_path%3Dstore%20-c%20geqo%3Doff": (
        "prefer",
        {"options": "-c search_path=store -c geqo=off"},
    ),
    "sslmode=prefer&passfile=/run/secrets/pgpass": ("prefer", {"passfile": "/run/secrets/pgpass"}),
}
READ |= {
    f"postgresql://ann:{SECRET}@{where}": {
        "hosts": hosts,
        # The store writes: of several hosts it wants the one that it can write on.
        "target_session_attrs": "read-write" if len(hosts) > 1 else "any",
    }
    for where, hosts in HOSTS.items()
}
READ |= {f"postgresql://ann:{SECRET}@db.example.org/store?{query}": given for query, given in PARAMETERS.items()}
READ |= {
    f"postgresql://ann:{SECRET}@db.example.org/store?{query}": {"sslmode": mode, "driver_options": options}
    for query, (mode, options) in OF_THE_DRIVER.items()
}


@pytest.mark.parametrize(("url", "differences"), READ.items())
def test_what_a_url_means(url, differences):
    assert parse_database_url(url) == target(**differences)


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


WRONG_PARAMETERS = {
    "sslmode=on": "sslmode must be one of disable, allow",
    "sslmode=disable&sslrootcert=/ca.pem": "sslrootcert needs",
    "sslrootcert=/ca.pem": "sslrootcert needs",
    "target_session_attrs=master": "target_session_attrs must be one of any",
    "pool_size=5": "unknown parameter 'pool_size'",
    "sslmode=no-verify": "no-verify is called require here",
    "ssl=true": "'ssl'; write sslmode=require",
    "pgbouncer=true": "set VEUPATH_STORE_PGBOUNCER=true",
    "connection_limit=1": "set VEUPATH_STORE_POOL_MAX_SIZE",
    "schema=x": "options=-csearch_path%3DNAME",
    "keepalives_idle=5": "remove it: the store sets keep-alives",
    "service=x": "write into the URL what",
    "hostaddr=x": "known are host, port, user",
    f"{SECRET[1:]}=x&ssl=1": "unknown parameter",
    "connect_timeout=0": "connect_timeout must be whole seconds",
    "connect_timeout=1.5": "connect_timeout must be whole seconds",
    f"connect_timeout={'9' * 5000}": "connect_timeout must be whole seconds",
    "gssencmode=require": "gssencmode must be one of disable, prefer",
    "sslnegotiation=x": "sslnegotiation must be one of",
    "channel_binding=x": "channel_binding must be one of",
    "channel_binding=require&sslmode=disable": "needs TLS with a verified",
    "sslrootcert=system&sslmode=require": "must be one of verify-full",
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
    **{f"postgresql://ann:{SECRET}@h/store?{query}": says for query, says in WRONG_PARAMETERS.items()},
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
