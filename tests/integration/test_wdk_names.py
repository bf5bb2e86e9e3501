"""A rename on the WDK server is taken over by sync; a name that was given here stays until the WDK's changes again."""

import asyncio
import unicodedata

import pytest

from tests.support.calls import new_stream
from tests.support.statements import recorded
from veupath_store import Event, Projector, StreamRepository
from veupath_store.models import StreamProjection
from veupath_store.values import SyncOutcome

STREAMS = StreamRepository
FIELDS = {"record_type": "transcript", "is_saved": True, "result_count": 100, "step_count": 3}


async def sync(user, *names, streams=None, **given):
    """Sync strategies 1, 2, … of these names; what became of each."""
    strategies = [{"wdk_strategy_id": number, "name": name, **FIELDS, **given} for number, name in enumerate(names, 1)]
    report = await (streams or STREAMS()).sync_wdk(user.id, "plasmodb", strategies)
    return [item.outcome.value for item in report.strategies]


async def row(user, number=1):
    return await StreamProjection.get(user_id=user.id, wdk_strategy_id=number)


async def name(user, number=1):
    return (await row(user, number)).name


async def became(user, wanted, **given):
    """What became of strategy 1 in a sync, and the name of its conversation then."""
    [outcome] = await sync(user, wanted, **given)
    return outcome, await name(user)


async def both_names(user):
    """The name, and the last one that was seen on the server."""
    found = await row(user)
    return found.name, found.wdk_name


async def rename(user, wanted, number=1):
    await STREAMS().update_projection((await row(user, number)).stream_id, name=wanted)


async def link(user, wanted, number=1):
    """A conversation that was made here, and is saved as a strategy on the WDK server."""
    stream = await new_stream(user, name=wanted, record_type="transcript", result_count=100, step_count=3)
    await STREAMS().claim_wdk_strategy(stream, number, is_saved=True)


async def told(stream, *events):
    """Events of the application, and what the row makes of them."""
    await Projector().append(stream, [Event(type=kind, data=data) for kind, data in events])
    await Projector().catch_up(stream)


async def test_a_rename_on_the_server_is_taken_over(user):
    await sync(user, "A", "B")
    before = await row(user), await row(user, 2)
    assert await sync(user, "A renamed", "B") == ["updated", "unchanged"]
    after = await row(user), await row(user, 2)
    assert [one.name for one in after] == ["A renamed", "B"]
    assert after[0].updated_at > before[0].updated_at
    assert dict(after[1]) == dict(before[1])
    assert await sync(user, "A renamed", "B") == ["unchanged", "unchanged"]
    assert dict(await row(user)) == dict(after[0])


async def test_a_local_rename_stays_until_the_name_on_the_server_changes_again(user):
    await sync(user, "theirs")
    await rename(user, "mine")
    for outcome in ("updated", "unchanged"):
        assert await became(user, "theirs", step_count=4) == (outcome, "mine")
    assert await became(user, "theirs, renamed too", step_count=4) == ("updated", "theirs, renamed too")
    await rename(user, "mine again")
    assert await became(user, "theirs, renamed too", step_count=4) == ("unchanged", "mine again")


async def test_a_strategy_that_was_linked_here_keeps_the_name_and_the_servers_is_remembered(user):
    """Also what a version before this one has synced: nothing is remembered of it."""
    await link(user, "mine")
    before = await row(user)
    assert await sync(user, "theirs") == ["unchanged"]
    after = await row(user)
    assert (after.name, after.wdk_name, after.wdk_name_of) == ("mine", "theirs", 1)
    assert (after.updated_at, after.unlogged) == (before.updated_at, before.unlogged)
    assert await sync(user, "theirs") == ["unchanged"]
    assert await became(user, "theirs, renamed") == ("updated", "theirs, renamed")


@pytest.mark.without_log
async def test_what_is_only_remembered_is_remembered_once_for_all_in_one_statement(user):
    for number in range(1, 41):
        await link(user, f"mine {number}", number)
    names = [f"theirs {number}" for number in range(1, 41)]
    for expected in (2, 1):
        with recorded(exactly=expected):
            assert set(await sync(user, *names)) == {"unchanged"}


async def test_a_taken_name_gets_a_number_which_is_no_local_rename(user):
    await new_stream(user, name="A")
    await new_stream(user, name="B")
    for given, kept, outcome in (("A", "A (1)", "inserted"), ("B", "B (1)", "updated"), ("C", "C", "updated")):
        assert await sync(user, given) == [outcome]
        assert await both_names(user) == (kept, given)
        assert await sync(user, given) == ["unchanged"]


async def test_strategies_that_swap_or_share_names_get_numbers(user):
    await sync(user, "A", "B", "C")
    assert await sync(user, "B", "A", "same", "same") == ["updated", "updated", "updated", "inserted"]
    assert [await name(user, number) for number in range(1, 5)] == ["B (1)", "A (1)", "same", "same (1)"]
    assert await sync(user, "B", "A", "same", "same") == ["unchanged"] * 4


async def test_a_blank_name_on_the_server_changes_nothing(user):
    await sync(user, "A")
    for blank in ("", "  ", "\ufeff\t"):
        assert await sync(user, blank) == ["unchanged"]
    assert await both_names(user) == ("A", "A")
    await rename(user, "mine")
    for seen in ("", "A"):
        assert await became(user, seen) == ("unchanged", "mine")


async def test_a_strategy_that_is_named_later_gives_its_conversation_that_name(user):
    for given, kept, outcome in ((" ", "New Conversation", "inserted"), ("named", "named", "updated")):
        assert await became(user, given) == (outcome, kept)


async def test_forms_of_unicode_are_one_name(user):
    composed = "Prote\u00edna"
    await sync(user, composed)
    before = await row(user)
    assert await sync(user, unicodedata.normalize("NFD", composed)) == ["unchanged"]
    assert dict(await row(user)) == dict(before)


async def test_what_was_seen_of_one_strategy_says_nothing_of_another(user):
    """After a hand-over, a claim of another id, and one back, the name that was seen is that of its own strategy."""
    claim = STREAMS().claim_wdk_strategy
    await sync(user, "A")
    first, second = (await row(user)).stream_id, await new_stream(user, name="second")
    assert await claim(second, 1, is_saved=True) == first
    await sync(user, "A renamed")
    assert await name(user) == "second"
    await claim(first, 2, is_saved=True)
    await sync(user, "A renamed", "other")
    assert (await row(user, 2)).stream_id == first
    assert await name(user, 2) == "A"
    await claim(second, 3, is_saved=True)
    await claim(second, 1, is_saved=True)
    await sync(user, "A renamed again", "other, renamed")
    assert (await name(user), await name(user, 2)) == ("A renamed again", "other, renamed")


async def test_a_dismissed_conversation_learns_the_name_when_it_is_back(user):
    await sync(user, "A")
    stream = (await row(user)).stream_id
    await STREAMS().dismiss(stream)
    assert await sync(user, "A renamed") == ["skipped"]
    assert await both_names(user) == ("A", "A")
    await STREAMS().restore(stream)
    assert await became(user, "A renamed") == ("updated", "A renamed")


@pytest.mark.with_log
async def test_an_event_that_clears_or_links_the_graph_leaves_what_was_seen_with_its_strategy(user):
    await sync(user, "A")
    stream = (await row(user)).stream_id
    await Projector().catch_up(stream)
    await told(stream, ("graph_cleared", {}), ("strategy_link", {"wdkStrategyId": 1, "isSaved": True}))
    assert (await row(user)).stream_id == stream
    assert (await name(user), (await row(user)).step_count) == ("New Conversation", 0)
    assert await sync(user, "A", step_count=0) == ["unchanged"], "the server's has not changed"
    assert await became(user, "A renamed", step_count=0) == ("updated", "A renamed")


@pytest.mark.with_log
async def test_a_rename_that_was_taken_over_is_logged_and_what_was_seen_is_not(user, watcher):
    await new_stream(user, name="taken")
    await sync(user, "A", "B")
    await sync(user, "A renamed", "taken")
    streams = [(await row(user, number)).stream_id for number in (1, 2)]
    for stream in streams:
        await Projector().catch_up(stream)
    assert not (await Projector().verify()).suspects
    assert not (await Projector().rebuild()).refused
    assert [(await row(user, n)).name for n in (1, 2)] == ["A renamed", "taken (1)"]
    assert (await row(user)).wdk_name == "A renamed", "a rebuild sets what the log says, and nothing else"

    await watcher.execute("DELETE FROM stream_projections WHERE stream_id = $1", streams[0])
    await Projector().rebuild(stream_id=streams[0])
    assert await both_names(user) == ("A renamed", None)
    assert await sync(user, "A, and renamed again", "taken") == ["unchanged", "unchanged"]
    assert (await row(user)).wdk_name == "A, and renamed again"
    assert not (await Projector().verify()).suspects


async def test_of_syncs_that_race_each_name_is_taken_over_once(user, unit):
    """Fifty syncs of the same list and of others' names, with conversations that take those names meanwhile."""
    await sync(user, *(f"s{number}" for number in range(20)))

    async def one(round_):
        names = [f"renamed {number % 5}" for number in range(20)]
        async with unit() as session:
            outcomes = await sync(user, *names, streams=STREAMS(session))
            assert await STREAMS(session).list_projections(user.id), "the unit of work goes on"
            return outcomes

    taken = [new_stream(user, name=f"renamed {number % 5}") for number in range(25)]
    done = await asyncio.gather(*map(one, range(25)), *taken)
    outcomes = [outcome for outcomes in done[:25] for outcome in outcomes]
    assert outcomes.count(SyncOutcome.UPDATED) == 20
    assert outcomes.count(SyncOutcome.UNCHANGED) == 24 * 20
    names = await StreamProjection.filter(user_id=user.id).values_list("name", flat=True)
    assert len(set(names)) == len(names) == 45
    assert all(one.startswith("renamed ") for one in names)
    assert {f"renamed {number}" for number in range(5)} <= set(names)


async def test_a_sync_that_races_a_local_rename_ends_with_one_of_the_two_whole(user):
    """A rename after the sync stays; one before it gives way, because the server's name has changed since."""
    for round_ in range(20):
        await sync(user, f"theirs {round_}")
        await asyncio.gather(sync(user, f"theirs {round_}, renamed"), rename(user, f"mine {round_}"))
        got = await name(user)
        assert got in (f"theirs {round_}, renamed", f"mine {round_}")
        assert await became(user, f"theirs {round_}, renamed") == ("unchanged", got)
