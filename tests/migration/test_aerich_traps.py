"""What `veupath_store.schema.migrations` relies on, or works around, in tortoise-orm and aerich."""

import sys
from contextlib import asynccontextmanager

import pytest
from aerich import Command
from aerich.migrate import Migrate
from tortoise.context import TortoiseContext
from tortoise.exceptions import OperationalError

from tests.support.processes import run
from veupath_store.config import StoreSettings
from veupath_store.errors import InternalError
from veupath_store.schema.files import migration_files, migrations_location, position
from veupath_store.schema.names import APP


def test_migrations_run_in_the_same_order_as_in_aerich(tmp_path, monkeypatch):
    (tmp_path / APP).mkdir()
    names = ["0_init.py", "2_20270101_z.py", "2_20270102_a.py", "2_20270102_a_b.py", "02_x.py", "9_a.py", "10_b.py"]
    for name in (*names[::-1], "helper.py", "x_y.py", "__init__.py", "3_notes.txt"):
        (tmp_path / APP / name).touch()
    monkeypatch.setattr("veupath_store.schema.files.migrations_location", lambda: tmp_path)
    monkeypatch.setattr(Migrate, "migrate_location", tmp_path / APP, raising=False)
    assert migration_files() == Migrate.get_all_version_files() == sorted(names, key=position)
    assert migration_files() == ["0_init.py", "02_x.py", *names[1:4], "9_a.py", "10_b.py"]


def test_listing_the_migrations_leaves_aerich_alone(monkeypatch):
    """aerich keeps its state on classes: an application's own use of it must not be moved to our directory."""
    monkeypatch.setattr(Migrate, "migrate_location", "theirs", raising=False)
    assert migration_files()
    assert Migrate.migrate_location == "theirs"


@asynccontextmanager
async def upstream(settings):
    """aerich's own command."""
    config = settings.tortoise_orm()
    async with TortoiseContext() as context:
        await context.init(config=config)
        command = Command(tortoise_config=config, app=APP, location=str(migrations_location()))
        await command.init()
        yield command


async def test_upstream_heads_raises_on_a_database_without_its_table(empty_url):
    """Which is why `pending_migrations` looks for the table first."""
    async with upstream(StoreSettings(database_url=empty_url)) as command:
        with pytest.raises(OperationalError):
            await command.heads()


async def test_upstream_takes_every_operational_error_for_nothing_applied(settings, monkeypatch):
    """Which is why `UnavailableError` is none: aerich would run every file again."""
    from aerich.models import Aerich

    async def lost(**_):
        raise OperationalError("the connection is gone")

    monkeypatch.setattr(Aerich, "exists", lost)
    async with upstream(settings) as command:
        with pytest.raises(InternalError, match="42P07"):
            await command.upgrade()


async def test_an_application_that_imports_the_configuration_keeps_its_own_handling_of_errors(tmp_path):
    """Under the command line `aerich` an error of the store is printed as a sentence: see test_aerich_command."""
    code = "import sys, aerich, veupath_store.tortoise_config as _; assert sys.excepthook is sys.__excepthook__"
    finished = await run(sys.executable, "-c", code, cwd=tmp_path)
    assert (finished.code, finished.err) == (0, ""), finished
