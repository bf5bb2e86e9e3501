"""What DATABASE_URL may look like."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veupath_store.config import StoreSettings
from veupath_store.database_url import DatabaseTarget, parse_database_url
from veupath_store.errors import ConfigurationError

SECRET = "s3cr3t-word"


def target(**differences) -> DatabaseTarget:
    plain = {"hosts": (("db.example.org", 5432),), "user": "ann", "password": SECRET, "database": "store"}
    return DatabaseTarget(**{**plain, **differences})


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
    assert parse_database_url(f"postgresql://ann:{SECRET}@{authority}/store") == target(hosts=hosts)


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
    assert parse_database_url(f"postgresql://ann:{SECRET}@/store?{query}") == target(hosts=hosts)


def test_what_is_not_given_is_left_to_the_driver():
    assert parse_database_url("postgresql:///store") == DatabaseTarget(hosts=(("localhost", 5432),), database="store")


def test_the_parameters_of_libpq():
    url = (
        f"postgresql://ann:{SECRET}@db.example.org/store?sslmode=verify-full&sslrootcert=/etc/ca.pem"
        "&target_session_attrs=read-write&application_name=path%20finder"
    )
    assert parse_database_url(url) == target(
        sslmode="verify-full",
        sslrootcert=Path("/etc/ca.pem"),
        target_session_attrs="read-write",
        application_name="path finder",
    )


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
    f"postgresql://ann:{SECRET}@h/store?sslmode=on": "sslmode must be one of disable, allow",
    f"postgresql://ann:{SECRET}@h/store?sslmode=disable&sslrootcert=/ca.pem": "sslrootcert needs",
    f"postgresql://ann:{SECRET}@h/store?sslrootcert=/ca.pem": "sslrootcert needs",
    f"postgresql://ann:{SECRET}@h/store?target_session_attrs=master": "target_session_attrs must be one of any",
    f"postgresql://ann:{SECRET}@h/store?pool_size=5": "unknown parameter 'pool_size'",
    f"postgresql://ann:{SECRET}@h/store?ssl=true": "known are host, port, sslmode",
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


def test_the_password_is_not_in_the_repr():
    assert SECRET not in repr(parse_database_url(f"postgresql://ann:{SECRET}@h/store"))


def test_without_certificates_of_its_own_tls_is_left_to_the_driver():
    assert parse_database_url("postgresql://h/store").ssl() is None
    assert parse_database_url("postgresql://h/store?sslmode=disable").ssl() == "disable"


@pytest.mark.parametrize(("sslmode", "checks_name"), [("require", False), ("verify-ca", False), ("verify-full", True)])
def test_own_certificates_are_verified_and_the_name_only_by_verify_full(sslmode, checks_name, tmp_path):
    authorities = tmp_path / "ca.pem"
    authorities.write_text(CERTIFICATE)
    context = parse_database_url(f"postgresql://h/store?sslmode={sslmode}&sslrootcert={authorities}").ssl()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is checks_name
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_a_configuration_error(content, tmp_path):
    authorities = tmp_path / "ca.pem"
    if content is not None:
        authorities.write_text(content)
    target = parse_database_url(f"postgresql://h/store?sslmode=verify-ca&sslrootcert={authorities}")
    with pytest.raises(ConfigurationError, match=r"sslrootcert .* readable file of PEM certificates"):
        target.ssl()


# Self-signed, made for this test; its key was thrown away.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBkDCCATegAwIBAgIUY9MMQjjw4G5Pbr/dJ+vah/ABUh8wCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSdmV1cGF0aC1zdG9yZSB0ZXN0MCAXDTI2MTEyNDE5NTQ0OFoY
DzIxMjYxMDMxMTk1NDQ4WjAdMRswGQYDVQQDDBJ2ZXVwYXRoLXN0b3JlIHRlc3Qw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASR1hZHGCKuXugB4B3J3jHj/7Ab76rq
TaBW8hBQrcuV6GJeeUkgsGy8NViHkPkAPgN4K3nsLZc6sA8jiinDyfL0o1MwUTAd
BgNVHQ4EFgQUhHeZg+QAgj+wqmcpk5H/lRaMhG8wHwYDVR0jBBgwFoAUhHeZg+QA
gj+wqmcpk5H/lRaMhG8wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBE
AiBWeiQZrr9Rk3h4Pznz7blVJ58WwAb2UC0nDhsCNy6dZAIgf2XSF6iAk4Tc9DCq
09988lD5H5fsJLy91q0GirNkTcE=
-----END CERTIFICATE-----
"""
