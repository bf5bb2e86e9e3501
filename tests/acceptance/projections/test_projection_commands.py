"""What they find, and what they print of it."""

import json
from uuid import uuid4

import pytest

from tests.acceptance.projections import SECRET_NAME, SECRET_PLAN, said, set_column
from tests.support.conversations import conversation
from veupath_store import Projector, StreamRepository

pytestmark = [pytest.mark.large, pytest.mark.with_log]


@pytest.fixture
def lose_log(logs):
    """Redis loses a conversation's log."""
    return lambda stream_id: logs.redis.delete(logs.key(stream_id))


async def quiet_output(command, *arguments):
    finished = await command(*arguments, "--quiet")
    return finished.code, finished.out, finished.err


WELL = {
    "lag": {"counts": {"current": 3}, "events": 0, "seconds": 0.0, "removals": 0, "without_row": 0, "lagging": []},
    "verify": {"counts": {"equal": 3}, "events": 15, "suspects": []},
    "rebuild": {"counts": {"rebuilt": 3}, "events": 15, "refused": [], "problems": {}},
}


@pytest.mark.parametrize(("name", "said"), WELL.items())
async def test_where_all_is_well_the_document_says_so_and_quietly_nothing_does(streams, command, document, name, said):
    assert await document(name) == (0, {"command": name, "ok": True, **said})
    shown = await command(name, *(() if name == "lag" else ("--parallel", 1)))
    assert (shown.code, shown.err) == (0, "")
    assert next(iter(said["counts"])) in shown.out
    assert await quiet_output(command, name) == (0, "", "")


# lag


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


async def test_what_a_log_has_lost_is_listed_for_good_and_a_finding_for_a_week(
    streams, watcher, command, document, lose_log
):
    lose_log(streams[1])
    shown = await command("lag")
    assert shown.code == 3
    assert f"{streams[1]}  ahead: the row has seen " in shown.out
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
    ids = [await conversation(user) for _ in range(23)]
    for stream_id in ids:
        await Projector().append(stream_id, said(1))
    shown = await command("lag")
    assert (shown.code, shown.out.count("  behind: 1 event(s)")) == (0, 20)
    assert shown.out.endswith("… and 3 more; --json lists all\n")
    _, found = await document("lag")
    assert {one["stream_id"] for one in found["lagging"]} == set(map(str, ids))


# verify


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


async def test_an_entry_that_was_skipped_is_told_by_its_id_and_not_by_its_content(streams, logs, command, document):
    position = logs.add(streams[0], "user_message", SECRET_NAME.encode())
    code, found = await document("rebuild")
    assert (code, found["refused"]) == (0, [])
    [problem] = found["problems"][str(streams[0])]
    assert (problem["position"], problem["type"]) == (position, "user_message")
    shown = await command("rebuild")
    assert f"entry {position} (user_message) was skipped: {problem['reason']}" in shown.out
    assert SECRET_NAME not in shown.out + json.dumps(found)


# rebuild


async def test_rebuild_mends_what_verify_found_and_takes_in_what_was_appended(streams, watcher, command, document):
    await set_column(watcher, streams[0], "name", "Tampered with")
    await set_column(watcher, streams[2], "last_event_id", None)
    await Projector().append(streams[1], said(2))
    code, found = await document("rebuild")
    assert (code, found["counts"], found["events"]) == (0, {"rebuilt": 3}, 17)
    assert (await command("verify")).code == 0
    projection = await StreamRepository().get_projection(streams[0])
    assert (projection.name, projection.message_count) == (f"{SECRET_NAME} 0", 3)


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
    code, found = await document("verify")
    assert (code, found["counts"]) == (3, {"behind": 1, "incomplete": 1, "equal": 1})
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
