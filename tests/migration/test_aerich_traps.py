"""What `veupath_store.migrations` relies on, or works around, in tortoise-orm and aerich."""

import runpy
import tomllib
from importlib.metadata import requires, version

import pytest
from aerich import Command
from aerich.migrate import Migrate
from packaging.requirements import Requirement
from tortoise.context import TortoiseContext
from tortoise.exceptions import OperationalError

from tests.support.checkout import REPOSITORY
from veupath_store.config import APP, StoreSettings
from veupath_store.errors import ConfigurationError, InternalError
from veupath_store.migration_files import migration_files, migrations_location


@pytest.mark.parametrize("name", ["tortoise-orm", "aerich"])
def test_the_installed_version_is_the_pinned_one(name):
    """Their internals are used: a new version needs a look at every test of this file and of the engine."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (pin,) = [Requirement(item) for item in project["dependencies"] if Requirement(item).name == name]
    assert str(pin.specifier) == f"=={version(name)}"
    assert str(pin) in {str(Requirement(item)) for item in requires("veupath-store")}


def test_migrations_run_in_the_same_order_as_in_aerich(tmp_path, monkeypatch):
    (tmp_path / APP).mkdir()
    for name in ("10_b.py", "9_a.py", "0_init.py", "2_c_d.py", "helper.py", "x_y.py", "__init__.py", "3_notes.txt"):
        (tmp_path / APP / name).touch()
    monkeypatch.setattr("veupath_store.migration_files.migrations_location", lambda: tmp_path)
    monkeypatch.setattr(Migrate, "migrate_location", tmp_path / APP, raising=False)
    assert migration_files() == Migrate.get_all_version_files() == ["0_init.py", "2_c_d.py", "9_a.py", "10_b.py"]


def test_listing_the_migrations_leaves_aerich_alone(monkeypatch):
    """aerich keeps its state on classes: an application's own use of it must not be moved to our directory."""
    monkeypatch.setattr(Migrate, "migrate_location", "theirs", raising=False)
    assert migration_files()
    assert Migrate.migrate_location == "theirs"


async def test_upstream_heads_raises_on_a_database_without_its_table(empty_url):
    """Which is why `pending_migrations` looks for the table first."""
    config = StoreSettings(database_url=empty_url).tortoise_orm()
    async with TortoiseContext() as context:
        await context.init(config=config)
        command = Command(tortoise_config=config, app=APP, location=str(migrations_location()))
        await command.init()
        with pytest.raises(OperationalError):
            await command.heads()


async def test_upstream_takes_every_operational_error_for_nothing_applied(settings, monkeypatch):
    """Which is why `UnavailableError` is none: aerich would run every file again."""
    from aerich.models import Aerich

    async def lost(**_):
        raise OperationalError("the connection is gone")

    monkeypatch.setattr(Aerich, "exists", lost)
    config = settings.tortoise_orm()
    async with TortoiseContext() as context:
        await context.init(config=config)
        command = Command(tortoise_config=config, app=APP, location=str(migrations_location()))
        await command.init()
        with pytest.raises(InternalError, match="42P07"):
            await command.upgrade()


def test_tortoise_config_says_what_to_set_without_a_url():
    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set"):
        runpy.run_path(str(REPOSITORY / "tortoise_config.py"))
