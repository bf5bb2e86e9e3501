"""`veupath-store projections`, as an operator and cron run it: other processes, on real servers."""

import json
import signal
from uuid import uuid4

import pytest

from tests.support import redis_servers
from tests.support.apart import call_apart
from tests.support.processes import BIN, run, run_at_terminal, started
from tests.support.servers import until
from veupath_store import AccountRepository, Event, ProjectionWorker, Projector, StreamRepository
from veupath_store.cli import main
from veupath_store.cli.console import EXIT_CODES
from veupath_store.config import StoreSettings
from veupath_store.events.project.rebuild import TOGETHER
from veupath_store.repositories import UserRepository

pytestmark = pytest.mark.large

COMMAND = (BIN / "veupath-store", "projections")
PASSWORD = "s3cr3t"
SECRET_NAME = "Unpublished kinases"
SECRET_PLAN = {"recordType": "transcript", "root": {"id": "a", "searchName": "GenesBySecretMotif", "parameters": {}}}


@pytest.fixture
def environment(database_url, redis_url, log_prefix):
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "VEUPATH_STORE_LOG_PREFIX": log_prefix}


@pytest.fixture
def settings(database_url, redis_url, log_prefix):
    return StoreSettings(database_url=database_url, redis_url=redis_url, log_prefix=log_prefix, catch_up=False)


@pytest.fixture
def command(tmp_path, environment):
    """Run one of the commands; what is given by name wins over the environment."""

    async def command(*arguments, **more):
        finished = await run(*COMMAND, *map(str, arguments), cwd=tmp_path, **{**environment, **more})
        assert "Traceback" not in finished.err, finished
        return finished

    return command


@pytest.fixture
def at_terminal(tmp_path, environment):
    """Run one of the commands at a terminal."""

    async def at_terminal(*arguments, typed=b""):
        return await run_at_terminal(*COMMAND, *arguments, cwd=tmp_path, typed=typed, **environment, TERM="xterm")

    return at_terminal


@pytest.fixture
def document(command):
    """Run one of the commands with --json; its exit code and the one document that it prints."""

    async def document(*arguments, **more):
        finished = await command(*arguments, "--json", **more)
        assert finished.err == "", finished
        return finished.code, json.loads(finished.out)

    return document


@pytest.fixture
async def streams(user):
    """Three conversations that are caught up."""
    repository = StreamRepository()
    ids = [(await repository.create(user.id, "plasmodb", name=f"{SECRET_NAME} {n}")).id for n in range(3)]
    for stream_id in ids:
        await Projector().append(stream_id, [Event(type="graph_plan", data={"plan": SECRET_PLAN}), *said(3)])
        await Projector().catch_up(stream_id)
    return ids


@pytest.fixture
def lose_log(redis_url, log_prefix):
    """Redis loses a conversation's log."""

    def lose_log(stream_id):
        with redis_servers.client(redis_url) as connection:
            assert connection.delete(f"{log_prefix}stream:{stream_id}") == 1

    return lose_log


@pytest.fixture
def trim_log(redis_url, log_prefix):
    """Redis loses the beginning of a conversation's log."""

    def trim_log(stream_id):
        with redis_servers.client(redis_url) as connection:
            assert connection.xtrim(f"{log_prefix}stream:{stream_id}", maxlen=1, approximate=False) > 0

    return trim_log


def said(count):
    return [Event(type="user_message", data={"content": SECRET_NAME, "messageId": str(n)}) for n in range(count)]


async def set_column(watcher, stream_id, column, value):
    await watcher.execute(f"UPDATE stream_projections SET {column} = $2 WHERE stream_id = $1", stream_id, value)


# lag


async def test_lag_of_rows_that_are_caught_up_is_nothing(streams, command, document):
    code, found = await document("lag")
    assert code == 0
    assert found == {
        "command": "lag",
        "ok": True,
        "counts": {"current": 3},
        "events": 0,
        "seconds": 0.0,
        "removals": 0,
        "without_row": 0,
        "lagging": [],
    }
    shown = await command("lag")
    assert (shown.code, shown.err) == (0, "")
    assert "current" in shown.out
    assert await quiet_output(command, "lag") == (0, "", "")


async def quiet_output(command, *arguments):
    finished = await command(*arguments, "--quiet")
    return finished.code, finished.out, finished.err


async def test_merely_behind_is_well_and_stuck_is_a_finding(streams, command, document):
    await Projector().append(streams[0], said(2))
    code, found = await document("lag")
    assert (code, found["ok"], found["counts"], found["events"]) == (0, True, {"behind": 1, "current": 2}, 2)
    [one] = found["lagging"]
    assert (one["stream_id"], one["state"], one["events"]) == (str(streams[0]), "behind", 2)
    assert await quiet_output(command, "lag") == (0, "", "")

    code, found = await document("lag", "--stuck-after", "0.001")
    assert (code, found["ok"], found["counts"]) == (3, False, {"stuck": 1, "current": 2})
    shown = await command("lag", "--stuck-after", "0.001", "--quiet")
    assert shown.code == 3
    assert f"{streams[0]}  stuck: 2 event(s), the oldest " in shown.out


async def test_a_log_that_redis_lost_is_ahead_by_lag(streams, command, lose_log):
    lose_log(streams[1])
    shown = await command("lag")
    assert shown.code == 3
    assert f"{streams[1]}  ahead: the row has seen " in shown.out


async def test_what_a_log_has_lost_is_listed_for_good_and_a_finding_for_a_week(
    streams, watcher, command, document, lose_log
):
    lose_log(streams[1])
    await Projector().catch_up(streams[1])
    shown = await command("lag", "--quiet")
    assert shown.code == 3
    assert f"{streams[1]}  current: its log has lost 3 message(s) between 0-0 and " in shown.out
    code, found = await document("lag")
    assert (code, found["ok"], found["counts"]) == (3, False, {"current": 3})
    [one] = found["lagging"]
    assert (one["stream_id"], one["lost"]["messages"]) == (str(streams[1]), 3)
    older = "jsonb_set(lost, '{at}', to_jsonb((now() - interval '8 days')::text))"
    await watcher.execute(f"UPDATE stream_projections SET lost = {older} WHERE lost IS NOT NULL")
    code, found = await document("lag")
    assert (code, found["ok"], len(found["lagging"])) == (0, True, 1)


async def test_a_row_that_is_missing_is_a_finding_and_a_rebuild_makes_it(streams, watcher, command, document):
    await watcher.execute("DELETE FROM stream_projections WHERE stream_id = $1", streams[0])
    shown = await command("lag", "--quiet")
    assert (shown.code, f"{streams[0]}  missing: " in shown.out) == (3, True)
    assert (await document("verify"))[1]["counts"] == {"missing": 1, "equal": 2}
    assert (await command("rebuild")).code == 0
    assert (await document("verify"))[1]["counts"] == {"equal": 3}


async def test_what_a_row_holds_and_its_log_does_not_is_counted_and_no_finding(streams, document):
    await StreamRepository().update_projection(streams[0], result_count=7)
    code, found = await document("lag")
    assert (code, found["counts"], found["lagging"]) == (0, {"unlogged": 1, "current": 2}, [])
    assert (await document("verify"))[1]["counts"] == {"equal": 3}
    assert (await document("lag"))[1]["counts"] == {"unlogged": 1, "current": 2}  # it was only looked at
    await document("rebuild")
    assert (await document("lag"))[1]["counts"] == {"current": 3}


async def test_a_log_without_a_row_is_counted_and_made_anew_when_that_is_asked_for(streams, watcher, document):
    before = await StreamRepository().get_projection(streams[0])
    await watcher.execute("DELETE FROM streams WHERE id = $1", streams[0])  # as a restore to an earlier moment does
    code, found = await document("lag")
    assert (code, found["without_row"], found["counts"]) == (0, 1, {"current": 2})
    code, found = await document("rebuild", "--missing")
    assert (code, found["counts"]) == (0, {"rebuilt": 3})
    after = await StreamRepository().get_projection(streams[0])
    assert (after.user_id, after.name, after.message_count) == (before.user_id, before.name, 3)
    assert (await document("lag"))[1]["without_row"] == 0


async def test_only_twenty_are_shown_and_the_document_has_all(user, command, document):
    ids = [(await StreamRepository().create(user.id, "plasmodb")).id for _ in range(23)]
    for stream_id in ids:
        await Projector().append(stream_id, said(1))
    shown = await command("lag")
    assert (shown.code, shown.out.count("  behind: 1 event(s)")) == (0, 20)
    assert shown.out.endswith("… and 3 more; --json lists all\n")
    _, found = await document("lag")
    assert {one["stream_id"] for one in found["lagging"]} == set(map(str, ids))


# verify


async def test_rows_that_their_logs_prove_verify(streams, command, document):
    code, found = await document("verify")
    assert (code, found) == (
        0,
        {"command": "verify", "ok": True, "counts": {"equal": 3}, "events": 15, "suspects": []},
    )
    assert await quiet_output(command, "verify") == (0, "", "")
    shown = await command("verify", "--parallel", 1)
    assert (shown.code, shown.err) == (0, "")
    assert "15" in shown.out


async def test_differences_are_shown_field_by_field_and_content_only_when_asked_for(
    streams, watcher, command, document
):
    await set_column(watcher, streams[0], "name", "Tampered [red]\x1b]0;with")
    await set_column(watcher, streams[0], "step_count", 7)
    await set_column(watcher, streams[0], "plan", "{}")
    shown = await command("verify")
    assert shown.code == 3
    assert f"{streams[0]}  different\n" in shown.out
    assert "  name: differs (text of 22 / 21 characters)\n" in shown.out
    assert "  plan: differs (object with 0 / 2 keys)\n" in shown.out
    assert "  step_count: stored 7, folded 1\n" in shown.out
    code, found = await document("verify")
    assert (code, found["ok"], found["counts"]) == (3, False, {"different": 1, "equal": 2})
    [suspect] = found["suspects"]
    assert (suspect["stream_id"], suspect["outcome"], suspect["events"]) == (str(streams[0]), "different", 5)
    assert suspect["differences"] == [
        {"column": "name", "differs": "text of 22 / 21 characters"},
        {"column": "step_count", "stored": 7, "folded": 1},
        {"column": "plan", "differs": "object with 0 / 2 keys"},
    ]
    for printed in (shown.out, json.dumps(found)):
        assert SECRET_NAME not in printed
        assert "Tampered" not in printed
        assert "GenesBySecretMotif" not in printed

    told = await command("verify", "--values")
    assert f'name: stored "Tampered [red]\\u001b]0;with", folded "{SECRET_NAME} 0"' in told.out
    assert "GenesBySecretMotif" in told.out
    assert "\x1b" not in told.out
    _, everything = await document("verify", "--values")
    assert {"column": "plan", "stored": {}, "folded": SECRET_PLAN} in everything["suspects"][0]["differences"]


async def test_an_entry_that_was_skipped_is_told_by_its_id_and_not_by_its_content(
    streams, redis_url, log_prefix, command, document
):
    with redis_servers.client(redis_url) as connection:
        fields = {"op": "", "type": "user_message", "data": SECRET_NAME}
        position = connection.xadd(f"{log_prefix}stream:{streams[0]}", fields).decode()
    code, found = await document("rebuild")
    assert (code, found["refused"]) == (0, [])
    [problem] = found["problems"][str(streams[0])]
    assert (problem["position"], problem["type"]) == (position, "user_message")
    shown = await command("rebuild")
    assert f"entry {position} (user_message) was skipped: {problem['reason']}" in shown.out
    assert SECRET_NAME not in shown.out + json.dumps(found)


async def test_a_row_without_a_whole_log_is_not_proven(streams, document, lose_log, trim_log):
    lose_log(streams[0])
    trim_log(streams[1])
    code, found = await document("verify")
    assert (code, found["counts"]) == (3, {"behind": 1, "incomplete": 1, "equal": 1})


# rebuild


async def test_rebuild_mends_what_verify_found_and_takes_in_what_was_appended(streams, watcher, command, document):
    await set_column(watcher, streams[0], "name", "Tampered with")
    await set_column(watcher, streams[2], "last_event_id", None)
    await Projector().append(streams[1], said(2))
    code, found = await document("rebuild")
    assert code == 0
    assert found == {
        "command": "rebuild",
        "ok": True,
        "counts": {"rebuilt": 3},
        "events": 17,
        "refused": [],
        "problems": {},
    }
    assert (await command("verify")).code == 0
    projection = await StreamRepository().get_projection(streams[0])
    assert (projection.name, projection.message_count) == (f"{SECRET_NAME} 0", 3)
    assert await quiet_output(command, "rebuild") == (0, "", "")


async def test_missing_makes_conversations_anew_that_only_their_logs_know(streams, watcher, document):
    """As after a restore of PostgreSQL to a moment before they began."""
    table = "SELECT to_jsonb(p)::text FROM stream_projections p ORDER BY stream_id"
    rows = await watcher.fetch(table)
    await watcher.execute("DELETE FROM streams")
    assert (await document("rebuild"))[1]["counts"] == {}
    assert (await document("rebuild", "--missing"))[1]["counts"] == {"rebuilt": 3}
    assert await watcher.fetch(table) == rows


async def test_the_selection_is_a_users_a_sites_or_one(streams, user, stranger, document):
    for site in ("plasmodb", "fungidb"):
        await StreamRepository().create(stranger.id, site)
    for arguments, count in (
        ((), 5),
        (("--user", user.id), 3),
        (("--site", "plasmodb"), 4),
        (("--user", stranger.id, "--site", "fungidb"), 1),
        (("--stream", streams[1]), 1),
        (("--user", uuid4()), 0),
    ):
        code, found = await document("verify", *arguments)
        assert (code, sum(found["counts"].values())) == (0, count), arguments
    for name in ("lag", "rebuild"):
        _, found = await document(name, "--user", user.id, "--site", "plasmodb", "--stream", streams[1])
        assert sum(found["counts"].values()) == 1


async def test_a_log_that_lost_something_is_refused_until_it_is_forced(streams, command, document, lose_log, trim_log):
    lose_log(streams[0])
    trim_log(streams[1])
    shown = await command("rebuild", "--quiet")
    assert shown.code == 3
    assert f"{streams[0]}  refused: behind\n" in shown.out
    assert f"{streams[1]}  refused: incomplete\n" in shown.out
    code, found = await document("rebuild")
    assert (code, found["ok"], found["counts"]) == (3, False, {"behind": 1, "incomplete": 1, "rebuilt": 1})
    assert {one["stream_id"] for one in found["refused"]} == {str(streams[0]), str(streams[1])}
    assert (await StreamRepository().get_projection(streams[1])).message_count == 3

    unconfirmed = await command("rebuild", "--force")
    assert (unconfirmed.code, unconfirmed.out) == (2, "")
    assert "--yes" in unconfirmed.err
    assert (await StreamRepository().get_projection(streams[1])).message_count == 3

    code, found = await document("rebuild", "--force", "--yes")
    assert (code, found["counts"]) == (0, {"rebuilt": 3})
    assert (await StreamRepository().get_projection(streams[1])).message_count == 1


@pytest.mark.parametrize(("typed", "ended"), [(b"n\n", (1, 3)), (b"\n", (1, 3)), (b"y\n", (0, 1))])
async def test_force_asks_at_a_terminal(streams, at_terminal, trim_log, typed, ended):
    trim_log(streams[0])
    finished = await at_terminal("rebuild", "--force", typed=typed)
    messages = (await StreamRepository().get_projection(streams[0])).message_count
    assert (finished.code, messages) == ended, finished
    assert "the row will hold only what the log still says" in finished.err


# terminals, interruptions, wrong calls


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
    made = [(await StreamRepository().create(user.id, "plasmodb", name=f"{SECRET_NAME} {n}")).id for n in range(40)]
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
    assert (finished.code, finished.out, finished.err) == (
        130,
        "",
        f"Interrupted after {TOGETHER} conversation(s).\n",
    ), finished
    names = dict(await watcher.fetch("SELECT stream_id, name FROM stream_projections"))
    assert all(names[stream_id].startswith(SECRET_NAME) for stream_id in streams[:TOGETHER])
    # Of the second group names are claimed one by one: those before the locked row may be as their logs say.
    assert names[held] == f"Tampered with {held}"


@pytest.mark.parametrize("name", ["lag", "verify", "rebuild"])
async def test_a_conversation_that_is_nobodys_is_an_error(streams, stranger, command, name):
    for arguments in (("--stream", uuid4()), ("--stream", streams[0], "--user", stranger.id)):
        finished = await command(name, *arguments)
        assert (finished.code, finished.out, finished.err) == (1, "", "No such stream.\n"), finished


@pytest.fixture
def call(monkeypatch, capfd, environment):
    """The command line in this process, for calls that come to nothing: the exit code and what was printed."""

    def call(*arguments, **more):
        monkeypatch.setattr("sys.argv", ["veupath-store", "projections", *arguments])
        for name, value in {**environment, **more}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as caught:
            call_apart(main)
        return caught.value.code, *capfd.readouterr()

    return call


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
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert "veupath-store projections" in err
    assert "Usage: " in err


@pytest.mark.parametrize("name", ["lag", "verify", "rebuild", "work"])
def test_without_a_log_it_says_what_to_set(call, name):
    code, out, err = call(name, REDIS_URL="")
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
def test_servers_out_of_reach_are_an_error_that_shows_no_password(call, name, wrong):
    code, out, err = call(name, **wrong)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1, err
    assert PASSWORD not in err


async def test_a_redis_that_is_down_is_an_error_and_nothing_changes(
    database_url, private_redis, tmp_path, template, server
):
    async with server.database(template) as url:
        environment = {"DATABASE_URL": url, "REDIS_URL": private_redis.url}
        with private_redis.down():
            for name in ("lag", "verify", "rebuild"):
                finished = await run(*COMMAND, name, cwd=tmp_path, **environment)
                assert (finished.code, finished.out) == (1, ""), finished
                assert len(finished.err.splitlines()) == 1, finished
        assert (await run(*COMMAND, "rebuild", cwd=tmp_path, **environment)).code == 0


async def test_help_tells_the_exit_codes_and_what_force_loses(command):
    for name in ("lag", "verify", "rebuild"):
        finished = await command(name, "--help")
        assert finished.code == 0
        assert EXIT_CODES in " ".join(finished.out.split())
        assert "--json prints {command, ok, counts" in " ".join(finished.out.split())
    assert "LOST IN THE ROW AS WELL" in " ".join((await command("rebuild", "--help")).out.replace("│", " ").split())


# work


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_work_projects_what_another_process_appends_until_it_is_told_to_stop(
    streams, tmp_path, environment, number
):
    async with started(*COMMAND, "work", "--poll", "0.05", cwd=tmp_path, **environment) as worker:

        async def projected():
            return (await StreamRepository().get_projection(streams[0])).message_count == 5

        await Projector().append(streams[0], said(2))
        await until(projected, 30, "the worker has projected what was appended")
        worker.process.send_signal(number)
        finished = await worker.finished()
    assert (finished.code, finished.out) == (0, ""), finished
    assert finished.err.splitlines()[0].endswith("INFO the projection worker has begun")
    assert "WARNING" not in finished.err


async def test_quiet_work_sweeps_and_removes_the_logs_of_what_is_deleted(
    user, tmp_path, environment, redis_url, log_prefix
):
    other = await UserRepository().create()
    stream_id = (await StreamRepository().create(other.id, "plasmodb")).id
    await Projector().catch_up(stream_id)
    await AccountRepository().purge(other.id)
    command = (*COMMAND, "work", "--quiet", "--poll", "0.05", "--sweep-every", "0.1")
    async with started(*command, cwd=tmp_path, **environment) as worker:
        with redis_servers.client(redis_url) as connection:

            async def removed():
                return not connection.exists(f"{log_prefix}stream:{stream_id}")

            # What was appended past the store leaves no mark, and is found by the sweep.
            behind = (await StreamRepository().create(user.id, "plasmodb")).id
            await Projector().catch_up(behind)
            entry = {"op": "", "type": "user_message", "data": "{}"}
            connection.xadd(f"{log_prefix}stream:{behind}", entry)
            await until(removed, 30, "the log is removed")

            async def projected():
                return (await StreamRepository().get_projection(behind)).message_count == 1

            await until(projected, 30, "the sweep has found it")
        worker.process.send_signal(signal.SIGTERM)
        finished = await worker.finished()
    assert (finished.code, finished.out, finished.err) == (0, "", ""), finished
