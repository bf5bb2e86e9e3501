"""The pytest plugin in the tests of another project, from an installed wheel."""

import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.checkout import REPOSITORY
from tests.support.databases import connected
from tests.support.installed import Installed, build
from tests.support.redis_servers import client

pytestmark = pytest.mark.large

PROJECT = Path(__file__).parent / "plugin_project"
TESTS = 52
MODES = {
    "strict": (),
    "auto": ("-o", "asyncio_mode=auto"),
    "in one loop": (
        *("-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_test_loop_scope=session", "-o", "asyncio_default_fixture_loop_scope=session"),
    ),
    "in parallel": ("-n", "2"),
    "auto, in parallel": ("-n", "2", "-o", "asyncio_mode=auto"),
}
HEAVY = ("tortoise", "asyncpg", "redis", "pydantic", "pytest_asyncio")


@pytest.fixture(scope="module")
def installed():
    # Not below pytest's own directory: each session that begins takes the rights to enter it from the server's user,
    # who could then not end the server.
    with tempfile.TemporaryDirectory(prefix="veupath-store-plugin-") as directory:
        place = Path(directory).resolve()
        place.chmod(0o755)
        build(REPOSITORY, place, "-t", "wheel")
        (wheel,) = place.glob("*.whl")
        yield Installed(place / "venv", wheel).libraries()


@pytest.fixture
def project(tmp_path):
    return Path(shutil.copytree(PROJECT, tmp_path / "labbook", ignore=shutil.ignore_patterns("__pycache__", ".*")))


@pytest.fixture
def tested(installed, project, running_servers):
    """Runs the project's tests; its temporary files go where this test can look."""
    temporary = Path(tempfile.mkdtemp(prefix="veupath-store-test-"))

    async def run(*arguments, **environment):
        command = ("-m", "pytest", "-p", "no:cacheprovider", *arguments)
        where = {"TMPDIR": str(temporary), **running_servers, **environment}
        return await installed.run("python", *command, cwd=project, **where)

    yield run
    deadline = time.monotonic() + 20  # the embedded Redis is stopped when the last process that uses it has ended
    while processes_in(temporary) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [path.name for path in temporary.glob("veupath-store*")]
    assert not processes_in(temporary), "a server was left behind"
    shutil.rmtree(temporary)
    assert not left, "a directory was left behind"


def processes_in(directory):
    """The processes that were told of a directory."""
    lines = (read(path / "cmdline") for path in Path("/proc").iterdir() if path.name.isdecimal())
    return [line for line in lines if str(directory) in line]


def read(file):
    try:
        return file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def of_nobody(names):
    """Those of the plugin's names whose process is gone: on a running server, others may be at work."""
    found = [re.search(r"veupath_store_pytest_(\d+)_", name) for name in names]
    return [match.string for match in found if match and not Path(f"/proc/{match[1]}").exists()]


@pytest.fixture
async def left_behind(running_servers):
    """What the test has left on running servers."""
    before = await on_servers(running_servers)

    async def look():
        return sorted(await on_servers(running_servers) - before)

    return look


async def on_servers(urls):
    names = []
    if "DATABASE_URL" in urls:
        async with connected(urls["DATABASE_URL"]) as connection:
            names += [row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")]
    if "REDIS_URL" in urls:
        with client(urls["REDIS_URL"]) as beside:
            names += [key.decode() for key in beside.scan_iter("veupath_store_pytest_*")]
    return set(of_nobody(names))


@pytest.mark.parametrize("mode", MODES)
async def test_the_projects_tests_pass_and_leave_nothing_behind(tested, mode, left_behind, record_property):
    finished = await tested(*MODES[mode])
    assert finished.code == 0, str(finished)
    assert re.search(rf"\b{TESTS} passed in ", finished.out), str(finished)
    assert "warning" not in finished.out.lower(), str(finished)
    took = re.search(r"a clean store: ([\d.]+) ms, the median of (\d+)", finished.out)
    assert took, str(finished)
    record_property("clean store, ms", took[1])
    sys.stdout.write(f"{mode}: {took[0]}\n")
    assert float(took[1]) < 1_000  # a few milliseconds; a busy machine takes ten times as long
    assert int(took[2]) >= 30
    assert await left_behind() == []


async def test_a_project_may_have_a_database_of_its_own_and_a_log_for_every_test(tested):
    finished = await tested("-o", "store_database=own", "-o", "store_event_log=true", "-k", "labbook and not statement")
    assert finished.code == 0, str(finished)
    assert "10 passed" in finished.out, str(finished)


OWN_CONFTEST = """
import pytest


@pytest.fixture(scope="session")
def store_apps():
    return {"shelf": {"models": ["shelf"]}, "reports": {"models": ["reports"], "default_connection": "elsewhere"}}


@pytest.fixture
def store_connections(tmp_path):
    return {"elsewhere": f"sqlite://{tmp_path}/reports.sqlite3"}
"""
OWN_MODEL = """
from tortoise import fields
from tortoise.models import Model


class {name}(Model):
    id = fields.IntField(primary_key=True)
    {field}
"""
OWN_TESTS = """
import pytest
from reports import Report
from shelf import Book
from tortoise.transactions import in_transaction

from veupath_store import async_session_factory, init_db

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("number", range(4))
async def test_own_tables_are_there_and_empty(store, make_user, number):
    with pytest.raises(LookupError):
        async with async_session_factory():
            await Book.create(user=await make_user())
            raise LookupError
    book = await Book.create(user=await make_user())
    assert [(one.id, one.user_id) for one in await Book.all()] == [(2, book.user_id)]
    async with in_transaction("elsewhere") as elsewhere:
        await elsewhere.execute_script('CREATE TABLE "report" (id INTEGER PRIMARY KEY, title TEXT)')
        await Report.create(title="all books", using_db=elsewhere)
    assert await Report.all().count() == 1
    assert await init_db() is store
"""


@pytest.mark.parametrize("mode", ["strict", "in parallel"])
async def test_a_projects_own_models_have_their_tables_and_connections(tested, project, left_behind, mode):
    reference = 'user = fields.ForeignKeyField("store.User", related_name="books")'
    (project / "shelf.py").write_text(OWN_MODEL.format(name="Book", field=reference))
    (project / "reports.py").write_text(OWN_MODEL.format(name="Report", field="title = fields.TextField()"))
    with (project / "tests" / "conftest.py").open("a") as conftest:
        conftest.write(OWN_CONFTEST)
    (project / "tests" / "test_own.py").write_text(OWN_TESTS)
    finished = await tested(*MODES[mode], "tests/test_own.py", "tests/test_labbook.py")
    assert finished.code == 0, str(finished)
    assert "warning" not in finished.out.lower(), str(finished)
    assert await left_behind() == []


async def test_without_pytest_asyncio_other_tests_run_and_the_store_says_what_is_missing(tested, project):
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\nfilterwarnings = ['error']\n")
    finished = await tested("-p", "no:asyncio", "tests/test_synchronous.py")
    assert "2 passed" in finished.out, str(finished)
    assert "the fixture store needs pytest-asyncio: pip install 'veupath-store[testing]'" in finished.out


async def test_a_wrong_option_is_named(tested, project):
    (project / "tests" / "test_wrong.py").write_text(
        "import pytest\n\n@pytest.mark.store(databases='own')\ndef test_one(store): ...\n\n"
        "@pytest.mark.store(database='mine')\ndef test_two(store): ...\n"
    )
    finished = await tested("tests/test_wrong.py")
    assert "2 errors" in finished.out, str(finished)
    assert "the marker is store(database='shared', event_log=False)" in finished.out
    assert "database is one of shared, own" in finished.out


async def test_what_the_environment_names_besides_is_never_touched(tested, empty_url):
    """The URL that migrations would take, and a Redis for a test without a log."""
    finished = await tested("-k", "nobody", MIGRATION_DATABASE_URL=empty_url, REDIS_URL="redis://nowhere.invalid")
    assert finished.code == 0, str(finished)
    async with connected(empty_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


async def test_a_run_of_which_a_worker_is_killed_leaves_nothing_behind(tested, project, left_behind):
    (project / "tests" / "test_death.py").write_text(
        "import os, signal, pytest\n\npytestmark = pytest.mark.asyncio\n\n"
        "async def test_death(store_log, make_stream):\n"
        "    await make_stream()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    finished = await tested("-n", "1", "tests/test_death.py")
    assert finished.code == 1, finished
    assert "crashed" in finished.out
    assert await left_behind() == []


async def test_a_run_that_uses_no_fixture_of_the_plugin_imports_nothing_heavy(tested, project):
    (project / "tests" / "conftest.py").write_text(
        "import sys\n\ndef pytest_unconfigure():\n"
        f"    sys.stderr.write(' '.join(it for it in {HEAVY} if it in sys.modules) + '\\n')\n"
    )
    (project / "tests" / "test_light.py").write_text("def test_light(): pass\n")
    pyproject = project / "pyproject.toml"
    pyproject.write_text(re.sub(r"(?m)^asyncio_.*\n", "", pyproject.read_text()))
    finished = await tested("-p", "no:asyncio", "tests/test_light.py", PYTHONWARNINGS="error")
    assert (finished.code, finished.err.strip()) == (0, ""), finished
