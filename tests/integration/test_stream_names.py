"""Names: unique within user and site, also for many at once, and kept so that what looks the same is the same."""

import asyncio
import unicodedata

import pytest

from tests.support.calls import insert_streams, new_stream, projection, refusal
from tests.support.statements import recorded
from veupath_store import ControlSetRepository, Event, GeneSetRepository, InvalidInputError, Projector, StreamRepository
from veupath_store.inputs import limits
from veupath_store.models import ControlSet, StreamProjection
from veupath_store.values.streams import DEFAULT_NAME

COMPOSED = "Prote\u00ednas \u00d7 \u8edf"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


async def created(user, *wanted, site="plasmodb"):
    """The names that new conversations get."""
    return [(await projection(await new_stream(user, site, name))).name for name in wanted]


async def rename(stream_id, name):
    await StreamRepository().update_projection(stream_id, name=name)


async def names(user):
    return sorted(await StreamProjection.filter(user_id=user.id).values_list("name", flat=True))


def numbered(base, count):
    return [base, *(f"{base} ({number})" for number in range(1, count))]


async def test_taken_names_are_numbered_in_order(user, stranger):
    assert await created(user, *[""] * 40) == numbered(DEFAULT_NAME, 40)
    assert await created(user, "", site="toxodb") == await created(stranger, "") == [DEFAULT_NAME]


async def test_a_freed_name_is_given_again_and_that_of_a_dismissed_conversation_is_not_free(user):
    streams = [await new_stream(user, name="A") for _ in range(3)]
    await StreamRepository().delete(streams[1])
    assert await created(user, "A") == ["A (1)"]
    await StreamRepository().dismiss(streams[0])
    assert await created(user, "A") == ["A (3)"]
    await StreamRepository().delete(streams[0])
    assert await created(user, "A") == ["A"]


async def test_renaming_finds_a_free_name_and_its_own_name_is_free(user):
    first, second = [await new_stream(user, name=name) for name in ("A", "B")]
    await rename(second, "A")
    assert await names(user) == ["A", "A (1)"]
    await rename(second, "A (1)")
    await rename(first, "A")
    assert await names(user) == ["A", "A (1)"]


async def test_the_longest_names_are_shortened_to_hold_their_number(user):
    made = await created(user, *["ä" * limits.NAME] * 12)
    short = ["ä" * (limits.NAME - 4) + " (1)", "ä" * (limits.NAME - 5) + " (11)"]
    assert [made[0], made[1], made[11]] == ["ä" * limits.NAME, *short]


async def test_names_with_brackets_quotes_and_wildcards_are_only_text(user):
    for name in ("A (1)", "%", "_", "'; DROP TABLE users; --", "a\\", "(1)", "( (1)", "{base}"):
        assert await created(user, name, name, name) == numbered(name, 3)


async def test_fifty_creators_at_once_get_fifty_names(user, unit):
    async def create():
        async with unit() as session:
            return await StreamRepository(session).create(user.id, "plasmodb", name="A")

    for round_ in range(1, 4):
        await asyncio.gather(*(create() for _ in range(50)))
        assert await names(user) == sorted(numbered("A", 50 * round_))


async def test_fifty_renames_to_one_name_at_once_get_fifty_names(user, unit):
    async def change(stream):
        async with unit() as session:
            await StreamRepository(session).update_projection(stream, name="A", record_type="transcript")

    await asyncio.gather(*[change(await new_stream(user, name=f"old {number}")) for number in range(50)])
    assert await names(user) == sorted(numbered("A", 50))


async def test_fifty_claims_of_one_wdk_id_leave_one_owner_of_it(user, unit):
    streams = [await new_stream(user) for _ in range(50)]

    async def claim(stream):
        async with unit() as session:
            await StreamRepository(session).update_projection(stream, wdk_strategy_id=7)

    for _ in range(3):
        await asyncio.gather(*map(claim, streams))
        assert await StreamProjection.filter(user_id=user.id, wdk_strategy_id=7).count() == 1


@pytest.mark.without_log
async def test_the_thousandth_name_takes_one_statement_that_does_not_read_the_others(user):
    client = StreamProjection._meta.db
    await new_stream(user, name="A")
    await insert_streams(user.id, 999, name="'A (' || n || ')'")
    await client.execute_script("ANALYZE stream_projections")
    before = await rows_read(client)
    with recorded(exactly=1):
        made = await StreamRepository().create(user.id, "plasmodb", name="A")
    assert made.projection.name == "A (1000)"
    # About twenty index probes of a few pages each; reading the names would fetch a thousand rows.
    assert await rows_read(client) - before < 250


async def rows_read(client):
    await client.execute_rows("SELECT pg_stat_force_next_flush()")
    rows = await client.execute_rows(
        "SELECT idx_tup_fetch + seq_tup_read AS read FROM pg_stat_user_tables WHERE relname = 'stream_projections'"
    )
    return rows[0]["read"]


async def test_the_two_forms_of_a_name_are_one(user):
    assert COMPOSED != DECOMPOSED
    made = await created(user, DECOMPOSED, COMPOSED, f"\ufeff {DECOMPOSED}\n", f"{COMPOSED} (1)")
    assert made == [*numbered(COMPOSED, 3), f"{COMPOSED} (1) (1)"]
    lists = {"site_id": "plasmodb", "record_type": "gene", "positive_ids": [], "negative_ids": []}
    for name in (COMPOSED, DECOMPOSED, f"{COMPOSED} "):
        await ControlSetRepository().upsert_seed(name=name, **lists)
    assert [item.name for item in await ControlSet.all()] == [COMPOSED]


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0", "\u3000", "\ufeff", " \ufeff\u2009"])
async def test_a_blank_name_is_the_default_of_a_new_conversation_and_no_name_for_one_that_has_one(user, blank):
    stream = await new_stream(user, name=blank)
    assert (await projection(stream)).name == DEFAULT_NAME
    save = GeneSetRepository().save(stream, user_id=user.id, site_id="plasmodb", name=blank, gene_ids=[])
    for call in (rename(stream, blank), save):
        await refusal(InvalidInputError, call, "name: it must not be empty")


@pytest.mark.with_log
@pytest.mark.parametrize("kind", ["strategy_meta", "graph_snapshot"])
async def test_a_name_that_an_event_gives_is_kept_the_same_way_and_that_is_logged(user, kind):
    """The log has what was said; what became of it is a decision, as a number is."""
    await new_stream(user, name=COMPOSED)
    stream = await new_stream(user, name="mine")
    await Projector().catch_up(stream)
    for given, kept in (
        (f" {DECOMPOSED}", f"{COMPOSED} (1)"),
        ("  ", f"{COMPOSED} (1)"),
        (" trimmed\n", "trimmed"),
        ("\u0958" * 255, "\u0915\u093c" * 127 + "\u0915"),
    ):
        data = {"name": given}
        named = Event(type=kind, data=data if kind == "strategy_meta" else {"graphSnapshot": data})
        await Projector().append(stream, [named])
        await Projector().catch_up(stream)
        assert (await projection(stream)).name == kept
        assert not (await Projector().verify()).suspects
        assert not (await Projector().rebuild()).refused
        assert (await projection(stream)).name == kept
    assert not (await projection(stream)).unlogged
