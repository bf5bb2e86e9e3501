"""How they run: at a terminal, interrupted, called wrongly; and `work`, which runs until it is told to stop."""

import signal
from functools import partial
from uuid import uuid4

import pytest

from tests.acceptance.projections import COMMAND, SECRET_NAME, said, set_column
from tests.support.conversations import conversation
from tests.support.processes import started
from tests.support.servers import until
from tests.support.waiting import becomes
from veupath_store import AccountRepository, ProjectionWorker, Projector, StreamRepository
from veupath_store.events.project.selection import TOGETHER

pytestmark = [pytest.mark.large, pytest.mark.with_log]

PASSWORD = "s3cr3t"


@pytest.mark.parametrize(("typed", "ended"), [(b"n\n", (1, 3)), (b"\n", (1, 3)), (b"y\n", (0, 1))])
async def test_force_asks_at_a_terminal(streams, at_terminal, trim_log, typed, ended):
    trim_log(streams[0])
    finished = await at_terminal("rebuild", "--force", typed=typed)
    messages = (await StreamRepository().get_projection(streams[0])).message_count
    assert (finished.code, messages) == ended, finished
    assert "the row will hold only what the log still says" in finished.err


@pytest.mark.parametrize("name", ["lag", "verify", "rebuild"])
async def test_a_terminal_sees_a_progress_bar_unless_it_is_told_not_to(streams, at_terminal, name):
    seen = await at_terminal(name)
    assert seen.code == 0, seen
    assert "3/3" in seen.err
    assert "3/3" not in seen.out
    for option in ("--quiet", "--json"):
        silent = await at_terminal(name, option)
        assert (silent.code, silent.err) == (0, ""), silent


async def test_more_at_once_than_the_pool_is_set_to_hold(streams, document):
    code, found = await document("rebuild", "--parallel", 16, VEUPATH_STORE_POOL_MAX_SIZE="1")
    assert (code, found["counts"]) == (0, {"rebuilt": 3})


async def test_an_interruption_ends_it_cleanly_and_what_was_rebuilt_stays(store, user, tmp_path, environment, watcher):
    made = [await conversation(user, f"{SECRET_NAME} {n}") for n in range(40)]
    await ProjectionWorker().drain()
    streams = sorted(made)
    held = streams[TOGETHER + 3]
    for stream_id in streams:
        await set_column(watcher, stream_id, "name", f"Tampered with {stream_id}")
    async with (
        watcher.transaction(),
        started(*COMMAND, "rebuild", "--parallel", "1", cwd=tmp_path, **environment) as rebuilding,
    ):
        await watcher.execute("SELECT 1 FROM stream_projections WHERE stream_id = $1 FOR UPDATE", held)

        async def waits():
            waiting = "wait_event_type = 'Lock' AND datname = current_database()"
            # Not by the watcher: in a transaction it would see the same activities again and again.
            return bool(await (await store.open()).execute_rows(f"SELECT 1 FROM pg_stat_activity WHERE {waiting}"))

        await until(waits, 30, "the rebuild waits for the row")
        rebuilding.process.send_signal(signal.SIGINT)
        finished = await rebuilding.finished()
    said = f"Interrupted after {TOGETHER} conversation(s).\n"
    assert (finished.code, finished.out, finished.err) == (130, "", said), finished
    names = dict(await watcher.fetch("SELECT stream_id, name FROM stream_projections"))
    assert all(names[stream_id].startswith(SECRET_NAME) for stream_id in streams[:TOGETHER])
    # Of the second group names are claimed one by one: those before the locked row may be as their logs say.
    assert names[held] == f"Tampered with {held}"


@pytest.mark.parametrize("name", ["lag", "verify", "rebuild"])
async def test_a_conversation_that_is_nobodys_is_an_error(streams, stranger, command, name):
    for arguments in (("--stream", uuid4()), ("--stream", streams[0], "--user", stranger.id)):
        finished = await command(name, *arguments)
        assert (finished.code, finished.out, finished.err) == (1, "", "No such stream.\n"), finished


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--stream", "7"),
        ("verify", "--site", ""),
        ("verify", "--parallel", "0"),
        ("rebuild", "--parallel", "65"),
        ("lag", "--stuck-after", "0"),
        ("lag", "--stuck-after", "nan"),
        ("lag", "--force"),
        ("work", "--poll", "0"),
        ("work", "--concurrency", "0"),
        ("fix",),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(call, arguments):
    code, out, err = call("projections", *arguments)
    assert (code, out) == (2, "")
    assert "veupath-store projections" in err
    assert "Usage: " in err


def test_the_help_tells_what_force_loses_and_what_json_prints(call):
    _, out, _ = call("projections", "rebuild", "--help")
    text = " ".join(out.replace("│", " ").split())
    assert "LOST IN THE ROW AS WELL" in text
    assert "--json prints {command, ok, counts" in text


@pytest.mark.parametrize("name", ["lag", "verify", "rebuild", "work"])
def test_without_a_log_it_says_what_to_set(call, environment, name):
    code, out, err = call("projections", name, **{**environment, "REDIS_URL": ""})
    assert (code, out) == (1, "")
    assert "set REDIS_URL" in err


@pytest.mark.parametrize("name", ["lag", "verify", "rebuild", "work"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"REDIS_URL": f"redis://me:{PASSWORD}@127.0.0.1:1/0"},
        {"DATABASE_URL": f"postgresql://me:{PASSWORD}@127.0.0.1:1/db"},
        {"REDIS_URL": f"http://me:{PASSWORD}@127.0.0.1:1/0"},
    ],
)
def test_servers_out_of_reach_are_an_error_that_shows_no_password(call, environment, name, wrong):
    code, out, err = call("projections", name, **{**environment, **wrong})
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1, err
    assert PASSWORD not in err


async def counted(stream_id):
    return (await StreamRepository().get_projection(stream_id)).message_count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_work_projects_what_another_process_appends_until_it_is_told_to_stop(
    streams, tmp_path, environment, number
):
    async with started(*COMMAND, "work", "--poll", "0.05", cwd=tmp_path, **environment) as worker:
        await Projector().append(streams[0], said(2))
        await becomes(partial(counted, streams[0]), 5, "the worker has projected what was appended")
        worker.process.send_signal(number)
        finished = await worker.finished()
    assert (finished.code, finished.out) == (0, ""), finished
    assert finished.err.splitlines()[0].endswith("INFO the projection worker has begun")
    assert "WARNING" not in finished.err


async def test_quiet_work_sweeps_and_removes_the_logs_of_what_is_deleted(user, stranger, tmp_path, environment, logs):
    gone, behind = await conversation(stranger), await conversation(user)
    for stream_id in (gone, behind):
        await Projector().catch_up(stream_id)
    await AccountRepository().purge(stranger.id)
    command = (*COMMAND, "work", "--quiet", "--poll", "0.05", "--sweep-every", "0.1")

    async def left():
        return logs.types(gone)

    async with started(*command, cwd=tmp_path, **environment) as worker:
        # What was appended past the store leaves no mark, and is found by the sweep.
        logs.add(behind, "user_message", {})
        await becomes(left, [], "the log is removed")
        await becomes(partial(counted, behind), 1, "the sweep has found it")
        worker.process.send_signal(signal.SIGTERM)
        finished = await worker.finished()
    assert (finished.code, finished.out, finished.err) == (0, "", ""), finished
