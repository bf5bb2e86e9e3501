"""The settings: where they come from, what is refused, and that no password shows."""

import copy
import logging
import pickle
import runpy
import traceback
from pathlib import Path

import pytest
from tortoise import Tortoise

from veupath_store.config import _OF_A_SERVICE, ENV_PREFIX, StoreSettings, unknown_variables
from veupath_store.errors import ConfigurationError
from veupath_store.servers.redis_url import RedisTarget

SECRET = "s3cr3t-word"
URL = f"postgresql://ann:{SECRET}@db.example.org/store"
TORTOISE_CONFIG = Path(__file__).parents[2] / "tortoise_config.py"
OPTIONS = sorted(
    StoreSettings.model_fields.keys() - {"database_url", "migration_database_url", "redis_url", "redis_password"}
)
NUMBERS = [name for name in OPTIONS if StoreSettings.model_fields[name].annotation in (int, float)]
FLAGS = ["catch_up", "pgbouncer", "require_head"]
TEXTS = ["log_prefix"]


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", URL)


def refusal(**given) -> str:
    with pytest.raises(ConfigurationError) as caught:
        StoreSettings(**given)
    return str(caught.value)


@pytest.fixture(params=[None, "", " \n"], ids=["not set", "empty", "blank"])
def unset(request, monkeypatch):
    """Sets a variable as if it were not set."""
    return lambda name: request.param is None or monkeypatch.setenv(name, request.param)


def test_an_unset_url_names_both_choices(unset):
    unset("DATABASE_URL")
    message = refusal()
    assert message.startswith("DATABASE_URL is not set.")
    assert "postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in message
    assert "embedded:PATH" in message


def test_every_option_is_a_number_or_a_flag_or_the_prefix():
    assert sorted(NUMBERS + FLAGS + TEXTS) == OPTIONS


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_read_from_its_variable(name, url, monkeypatch):
    default = getattr(StoreSettings(), name)
    wanted = {"command_timeout": 40}.get(name, 3)
    monkeypatch.setenv(ENV_PREFIX + name.upper(), str(wanted))
    settings = StoreSettings()
    assert getattr(settings, name) == wanted != default
    assert type(getattr(settings, name)) is type(default)


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_is_read_from_its_variable(name, url, monkeypatch):
    read = {}
    for word in ("true", "false", "1", "0"):
        monkeypatch.setenv(ENV_PREFIX + name.upper(), word)
        read[word] = getattr(StoreSettings(), name)
    assert read == {"true": True, "false": False, "1": True, "0": False}


@pytest.mark.parametrize("name", [*NUMBERS, *FLAGS, *TEXTS])
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name, url, monkeypatch):
    numbers, texts = ("soon", "-1", "1e9", "nan", "inf", "5s"), ("a b", "a*", "é:", "x\n", "x" * 51, "{x}:")
    for wrong in (f"{SECRET} ", *(numbers if name in NUMBERS else texts)):
        monkeypatch.setenv(ENV_PREFIX + name.upper(), wrong)
        message = refusal()
        assert message.startswith(f"{ENV_PREFIX}{name.upper()}: "), wrong
        assert SECRET not in message


@pytest.mark.parametrize("name", OPTIONS)
def test_an_empty_variable_is_as_if_it_were_not_set(name, url, monkeypatch):
    default = StoreSettings()
    monkeypatch.setenv(ENV_PREFIX + name.upper(), "")
    monkeypatch.setenv("MIGRATION_DATABASE_URL", "")
    monkeypatch.setenv("REDIS_URL", "")
    assert StoreSettings() == default
    assert StoreSettings().for_migrations().target == default.target


def test_all_mistakes_are_told_at_once(url, monkeypatch):
    wrong = {"VEUPATH_STORE_POOL_MAX_SIZE": "0", "VEUPATH_STORE_CONNECT_TIMEOUT": "soon"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    assert [line.partition(":")[0] for line in refusal().splitlines()] == list(wrong)


MISSPELT = {
    "VEUPATH_STORE_POOL_MAX": "VEUPATH_STORE_POOL_MAX_SIZE",
    "VEUPATH_STORE_COMAND_TIMEOUT": "VEUPATH_STORE_COMMAND_TIMEOUT",
    "veupath_store_pgbouncr": "VEUPATH_STORE_PGBOUNCER",
    "VEUPATH_STORE_LOG_PREFX": "VEUPATH_STORE_LOG_PREFIX",
    "VEUPATH_STORE_MAX_POOL_SIZE": "VEUPATH_STORE_POOL_MAX_SIZE",
    "VEUPATH_STORE_CONNECTION_TIMEOUT": "VEUPATH_STORE_CONNECT_TIMEOUT",
    "VEUPATH_STORE_IDLE_TIMEOUT": "VEUPATH_STORE_IDLE_IN_TRANSACTION_TIMEOUT",
    **{f"VEUPATH_STORE_{name}": name for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL")},
}


@pytest.mark.parametrize(("variable", "meant"), MISSPELT.items())
def test_a_misspelt_variable_is_refused_with_the_right_name(variable, meant, url, monkeypatch):
    monkeypatch.setenv(variable, SECRET)
    assert refusal() == f"{variable} is no option of the store. Did you mean {meant}?"


NEWER = ["XQJ", "TCP_USER_TIMEOUT", "STATEMENT_CACHE_SIZE", "IO_TIMEOUT", "REPLICA_URL", "POOL_MAX_LIFETIME"]


@pytest.mark.parametrize("option", NEWER)
def test_an_option_of_a_newer_version_is_warned_of(option, url, monkeypatch, caplog):
    monkeypatch.setenv(ENV_PREFIX + option, SECRET)
    assert StoreSettings().pool_max_size == 10
    assert unknown_variables() == [ENV_PREFIX + option]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{ENV_PREFIX}{option} is no option of this version" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("service", ["", "API_", "POOL_", "LOG_"])
def test_a_kubernetes_service_of_the_store_s_name_is_no_matter(service, url, monkeypatch, caplog):
    for name in ("PORT", *(f"PORT_80_TCP{rest}" for rest in ("", "_ADDR", "_PORT", "_PROTO"))):
        monkeypatch.setenv(f"{ENV_PREFIX}{service}{name}", "tcp://10.0.0.11:80")
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP"):
        monkeypatch.setenv(f"{ENV_PREFIX}{service}{name}", "10.0.0.11")
    assert StoreSettings().pool_max_size == 10
    assert unknown_variables() == []
    assert not caplog.records


def test_no_option_looks_like_what_kubernetes_sets():
    assert not [name for name in OPTIONS if _OF_A_SERVICE.search(name.upper())]


def test_the_url_s_connect_timeout_counts_unless_the_variable_is_set(url, monkeypatch):
    fifteen = f"{URL}?connect_timeout=15"
    assert StoreSettings(database_url=fifteen).connect_timeout == 15
    assert StoreSettings(database_url=fifteen, connect_timeout=3).connect_timeout == 3
    assert StoreSettings(database_url=fifteen).for_migrations().connect_timeout == 15
    direct = StoreSettings(database_url=URL, migration_database_url=fifteen)
    assert (direct.connect_timeout, direct.for_migrations().connect_timeout) == (5, 15)
    monkeypatch.setenv("VEUPATH_STORE_CONNECT_TIMEOUT", "4")
    assert StoreSettings(database_url=fifteen).connect_timeout == 4
    assert StoreSettings(database_url=fifteen).for_migrations().connect_timeout == 4


@pytest.mark.parametrize("variable", ["VEUPATHDB_STORE_POOL_MAX", "VEUPATH_STORED", "POOL_MAX_SIZE", "DATABASE_URLS"])
def test_variables_of_others_are_ignored(variable, url, monkeypatch):
    monkeypatch.setenv(variable, "not a number")
    assert StoreSettings().pool_max_size == 10


def test_an_unknown_argument_is_refused(url):
    assert refusal(pool_max=3).startswith("VEUPATH_STORE_POOL_MAX: ")


def test_arguments_win_over_the_environment(url, monkeypatch):
    monkeypatch.setenv("VEUPATH_STORE_POOL_MAX_SIZE", "20")
    settings = StoreSettings(database_url="postgresql://other/store", pool_max_size=3)
    assert (settings.target.hosts, settings.pool_max_size) == ((("other", 5432),), 3)


def test_the_smallest_pool_is_not_above_the_largest(url):
    assert refusal(pool_min_size=11) == (
        "VEUPATH_STORE_POOL_MIN_SIZE (11) must not be above VEUPATH_STORE_POOL_MAX_SIZE (10)"
    )
    assert StoreSettings(pool_min_size=10, pool_max_size=10).pool_min_size == 10


def test_the_defaults_fit_each_other(url):
    settings = StoreSettings()
    assert settings.lock_timeout < settings.statement_timeout < settings.command_timeout
    assert settings.connect_timeout < settings.acquire_timeout
    assert settings.release_timeout < settings.close_timeout
    assert settings.migration_lock_timeout < settings.lock_timeout


def test_migrations_go_to_their_own_url_with_patience(url):
    direct = "postgresql://direct/store"
    settings = StoreSettings(migration_database_url=direct, pgbouncer=True).for_migrations()
    assert (settings.target.hosts, settings.pgbouncer, settings.pool_max_size) == ((("direct", 5432),), False, 1)
    assert settings.lock_timeout == settings.migration_lock_timeout
    assert StoreSettings(pgbouncer=True).for_migrations().pgbouncer


def test_without_an_address_there_is_no_event_log(unset, url):
    unset("REDIS_URL")
    assert StoreSettings().log_target is None


def test_the_event_log_is_read_from_its_variables(url, monkeypatch):
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@cache/2")
    target = RedisTarget(host="cache", database=2, password=SECRET)
    for prefix in ("path-finder_2.x:", "x" * 50):
        monkeypatch.setenv("VEUPATH_STORE_LOG_PREFIX", prefix)
        settings = StoreSettings()
        assert settings.log_target == settings.for_migrations().log_target == target
        assert settings.log_prefix == prefix


def test_a_wrong_address_of_the_event_log_is_refused_by_its_name(url, monkeypatch):
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@cache:port")
    message = refusal()
    assert message.startswith("REDIS_URL cannot be used: a port must be")
    assert SECRET not in message


def test_the_two_embedded_servers_do_not_share_a_directory(tmp_path):
    there = f"embedded:{tmp_path}"
    assert refusal(database_url=there, redis_url=f"{there}/") == (
        "REDIS_URL cannot be used: its directory is DATABASE_URL's; each server needs its own"
    )
    assert StoreSettings(database_url=there, redis_url=f"{there}/log").log_target


def test_no_way_of_showing_settings_shows_the_password(url):
    settings = StoreSettings(migration_database_url=URL, redis_url=f"redis://:{SECRET}@cache")
    copies = (settings, settings.for_migrations(), copy.deepcopy(settings), pickle.loads(pickle.dumps(settings)))
    parts = (settings.target, settings.log_target, settings.tortoise_orm())
    dumped = (settings.model_dump(), settings.model_dump(mode="json"), settings.model_dump_json())
    shown = [f"{it!r} {it!s} {it}" for it in (*copies, *parts, *dumped, StoreSettings.model_json_schema())]
    assert not [text for text in shown if SECRET in text]


async def test_no_log_of_starting_up_shows_the_password(url, caplog):
    with caplog.at_level(logging.DEBUG):
        await Tortoise.init(config=StoreSettings().tortoise_orm())
        await Tortoise.close_connections()
    assert caplog.records
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "given",
    [
        *({"database_url": wrong} for wrong in (f"mysql://{SECRET}", [SECRET])),
        *({"redis_url": wrong} for wrong in (f"http://:{SECRET}@cache", f"redis://{SECRET}@cache", [SECRET])),
        *({"pool_min_size": wrong} for wrong in (5_000, 11)),
        {SECRET.replace("-", "_"): 1, "database_url": SECRET, "connect_timeout": SECRET, "log_prefix": f"{SECRET} "},
    ],
)
def test_no_error_shows_what_was_given(given, url):
    with pytest.raises(ConfigurationError) as caught:
        StoreSettings(**given)
    assert SECRET not in "".join(traceback.format_exception(caught.value)).replace(__file__, "")
    assert caught.value.__cause__ is None


def test_the_tortoise_configuration_is_made_without_connecting(url):
    config = runpy.run_path(str(TORTOISE_CONFIG))["TORTOISE_ORM"]
    assert config["connections"]["default"]["engine"] == "veupath_store.engine"
    assert config["connections"]["default"]["credentials"] == {"settings": StoreSettings()}
    assert config["apps"]["store"]["models"] == ["veupath_store.models", "aerich.models"]
    assert SECRET not in repr(config)


def test_the_tortoise_configuration_without_a_url_says_what_to_set():
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL is not set\. .*embedded:PATH"):
        runpy.run_path(str(TORTOISE_CONFIG))


def test_the_configuration_for_tortoise_takes_the_applications_apps_and_connections():
    settings = StoreSettings(database_url="postgresql://db/app")
    apps, connections = {"notes": {"models": ["notes.models"]}}, {"warehouse": "postgres://warehouse/reports"}
    config = settings.tortoise_orm(apps=apps, connections=connections)
    assert list(config["apps"]) == ["store", "notes"], "aerich takes the first where none is named"
    assert config["apps"]["notes"] == apps["notes"]
    assert config["connections"] == {**settings.tortoise_orm()["connections"], **connections}
    assert config["connections"]["default"]["credentials"] == {"settings": settings}


@pytest.mark.parametrize("taken", [{"apps": {"store": {}}}, {"connections": {"default": "postgres://db/app"}}])
def test_the_stores_names_are_its_own(taken):
    with pytest.raises(ConfigurationError, match="is the store's: give yours another name"):
        StoreSettings(database_url="postgresql://db/app").tortoise_orm(**taken)
