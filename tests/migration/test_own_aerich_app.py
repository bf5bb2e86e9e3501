"""The `aerich` command line for an application's own app, beside the store's in one database."""

from functools import partial

import pytest

from tests.support.checkout import REPOSITORY
from tests.support.databases import fetch
from tests.support.processes import BIN, run
from veupath_store.schema.files import migration_files

pytestmark = pytest.mark.large

MODELS = """
from tortoise import fields
from tortoise.models import Model


class Note(Model):
    id = fields.IntField(primary_key=True)
    user = fields.ForeignKeyField("store.User", related_name="notes", on_delete=fields.CASCADE)
    tags = fields.ManyToManyField("notes.Tag")

    class Meta:
        table = "notes"


class Tag(Model):
    id = fields.IntField(primary_key=True)

    class Meta:
        table = "tags"
"""
CONFIG = """
from veupath_store import StoreSettings

AERICH_ORM = StoreSettings().for_migrations().tortoise_orm(apps={"notes": {"models": ["notes"]}})
"""
PROJECT = """
[tool.aerich]
tortoise_orm = "aerich_config.AERICH_ORM"
location = "./migrations"
src = "."
"""
EMPTY = '    return """\n        """'


@pytest.fixture
def project(tmp_path):
    for name, text in {"notes.py": MODELS, "aerich_config.py": CONFIG, "pyproject.toml": PROJECT}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def called(project, database_url):
    """Runs a command in the project, and expects it to succeed."""

    async def call(command, *arguments, url=database_url, code=0):
        finished = await run(BIN / command, *arguments, cwd=project, DATABASE_URL=url)
        assert finished.code == code, finished
        return finished

    return call


@pytest.fixture
def notes(called):
    """Runs aerich for the application's own app."""
    return partial(called, "aerich", "--app", "notes")


def change(project, old, new):
    models = project / "notes.py"
    models.write_text(models.read_text().replace(old, new, 1))


def files(project):
    return sorted(path.name for path in (project / "migrations" / "notes").glob("*.py"))


async def applied(url, app):
    return [row["version"] for row in await fetch(url, "SELECT version FROM aerich WHERE app = $1", app)]


@pytest.mark.parametrize("first", ["init-migrations", "init-db"])
async def test_the_first_migration_holds_the_applications_tables_only(called, notes, project, database_url, first):
    await notes(first)
    [made] = files(project)
    text = (project / "migrations" / "notes" / made).read_text()
    tables = [line.split('"')[1] for line in text.splitlines() if "CREATE TABLE" in line]
    assert tables == ["notes", "tags", "notes_tags"]
    await notes("upgrade")
    assert await applied(database_url, "notes") == [made]
    assert await applied(database_url, "store") == migration_files()
    await called("veupath-store", "check")
    assert "at head" in (await called("veupath-store", "migrate")).out


async def test_each_command_sees_and_records_its_own_app(called, notes, project, database_url, empty_url):
    await notes("init-migrations")
    change(project, "    tags =", "    text = fields.TextField(null=True)\n    tags =")
    await notes("migrate", "--name", "text", "--offline")
    made = files(project)
    assert made[1].startswith("1_")
    early = await notes("upgrade", url=empty_url, code=1)
    assert 'relation "users" does not exist' in early.err
    for url in (empty_url, database_url):
        await called("veupath-store", "migrate", url=url)
        await notes("upgrade", url=url)
        assert (await applied(url, "notes"), await applied(url, "store")) == (made, migration_files())
    await notes("downgrade", "--version", "1", "--yes")
    assert await applied(database_url, "store") == migration_files()
    store = await run(BIN / "aerich", "heads", cwd=REPOSITORY, DATABASE_URL=database_url)
    assert store.out == "No available heads.\n", store
    assert "at head" in (await called("veupath-store", "migrate")).out
    assert (await notes("heads")).out.strip() == made[1]


async def test_upstream_cannot_generate_a_new_reference_to_another_app_and_an_empty_file_can_hold_it(
    notes, project, database_url
):
    """Which is why the page says so."""
    await notes("init-db")
    stream = 'fields.ForeignKeyField("store.Stream", related_name="notes", null=True)'
    change(project, "    tags =", f"    stream = {stream}\n    tags =")
    assert "KeyError" in (await notes("migrate", code=1)).err
    await notes("migrate", "--empty", "--name", "stream")
    made = project / "migrations" / "notes" / files(project)[1]
    column = "ALTER TABLE notes ADD stream_id uuid REFERENCES streams ON DELETE CASCADE"
    assert EMPTY in made.read_text()
    made.write_text(made.read_text().replace(EMPTY, f'    return "{column}"', 1))
    await notes("upgrade")
    assert "No changes" in (await notes("migrate")).out
    assert await fetch(database_url, "SELECT stream_id FROM notes") == []
