"""Names are unique within user and site: also for many, also at once."""

import asyncio

import pytest

from tests.support.statements import recorded
from veupath_store import InvalidInputError, StreamRepository
from veupath_store.inputs import limits
from veupath_store.models import StreamProjection


async def names(user_id, site_id="plasmodb"):
    rows = await StreamProjection.filter(user_id=user_id, site_id=site_id).values_list("name", flat=True)
    return sorted(rows)


def numbered(base, count):
    return sorted([base, *(f"{base} ({number})" for number in range(1, count))])


async def test_taken_names_are_numbered_in_order(user, stranger):
    made = [(await StreamRepository().create(user.id, "plasmodb")).projection.name for _ in range(40)]
    assert made == ["New Conversation", *(f"New Conversation ({number})" for number in range(1, 40))]
    assert (await StreamRepository().create(user.id, "toxodb")).projection.name == "New Conversation"
    assert (await StreamRepository().create(stranger.id, "plasmodb")).projection.name == "New Conversation"


async def test_a_freed_name_is_given_again(user):
    streams = [await StreamRepository().create(user.id, "plasmodb", name="A") for _ in range(3)]
    await StreamRepository().delete(streams[1].id)
    assert (await StreamRepository().create(user.id, "plasmodb", name="A")).projection.name == "A (1)"
    await StreamRepository().delete(streams[0].id)
    assert (await StreamRepository().create(user.id, "plasmodb", name="A")).projection.name == "A"


async def test_dismissed_conversations_keep_their_names(user):
    made = await StreamRepository().create(user.id, "plasmodb", name="A")
    await StreamRepository().dismiss(made.id)
    assert (await StreamRepository().create(user.id, "plasmodb", name="A")).projection.name == "A (1)"


async def test_renaming_finds_a_free_name_and_its_own_name_is_free(user):
    first, second = [await StreamRepository().create(user.id, "plasmodb", name=name) for name in ("A", "B")]
    await StreamRepository().update_projection(second.id, name="A")
    assert await names(user.id) == ["A", "A (1)"]
    await StreamRepository().update_projection(second.id, name="A (1)")
    await StreamRepository().update_projection(first.id, name="A")
    assert await names(user.id) == ["A", "A (1)"]
    with pytest.raises(InvalidInputError):
        await StreamRepository().update_projection(first.id, name="")


async def test_the_longest_names_are_shortened_to_hold_their_number(user):
    longest = "ä" * limits.NAME
    made = [(await StreamRepository().create(user.id, "plasmodb", name=longest)).projection.name for _ in range(12)]
    assert made[0] == longest
    assert made[1] == "ä" * (limits.NAME - 4) + " (1)"
    assert made[11] == "ä" * (limits.NAME - 5) + " (11)"


async def test_names_with_brackets_quotes_and_wildcards_are_only_text(user):
    for name in ("A (1)", "%", "_", "'; DROP TABLE users; --", "a\\", "(1)", "( (1)", "{base}"):
        made = [(await StreamRepository().create(user.id, "plasmodb", name=name)).projection.name for _ in range(3)]
        assert made == [name, f"{name} (1)", f"{name} (2)"]


async def test_fifty_creators_at_once_get_fifty_names(user, unit):
    async def create():
        async with unit() as session:
            return await StreamRepository(session).create(user.id, "plasmodb", name="A")

    for round_ in range(1, 4):
        await asyncio.gather(*(create() for _ in range(50)))
        assert await names(user.id) == numbered("A", 50 * round_)


async def test_fifty_renames_to_one_name_at_once_get_fifty_names(user, unit):
    streams = [await StreamRepository().create(user.id, "plasmodb", name=f"old {number}") for number in range(50)]

    async def rename(stream):
        async with unit() as session:
            await StreamRepository(session).update_projection(stream.id, name="A", record_type="transcript")

    await asyncio.gather(*(rename(stream) for stream in streams))
    assert await names(user.id) == numbered("A", 50)


@pytest.mark.without_log
async def test_the_thousandth_name_takes_one_statement_that_does_not_read_the_others(user):
    template = "INSERT INTO streams (id, user_id, site_id) SELECT gen_random_uuid(), $1, 'plasmodb' "
    client = StreamProjection._meta.db
    await client.execute_rows(
        f"WITH s AS ({template} FROM generate_series(0, 999) RETURNING id), "
        "n AS (SELECT id, row_number() OVER () - 1 AS number FROM s) "
        "INSERT INTO stream_projections (stream_id, user_id, site_id, name) "
        "SELECT id, $1, 'plasmodb', CASE number WHEN 0 THEN 'A' ELSE 'A (' || number || ')' END FROM n",
        [user.id],
    )
    await client.execute_script("ANALYZE stream_projections")
    before = await blocks_read(client)
    with recorded() as sent:
        made = await StreamRepository().create(user.id, "plasmodb", name="A")
    assert made.projection.name == "A (1000)"
    assert len(sent) == 1
    # About twenty index probes of a few pages each; reading the names would fetch a thousand rows.
    assert await blocks_read(client) - before < 250


async def blocks_read(client):
    await client.execute_rows("SELECT pg_stat_force_next_flush()")
    rows = await client.execute_rows(
        "SELECT idx_tup_fetch + seq_tup_read AS read FROM pg_stat_user_tables WHERE relname = 'stream_projections'"
    )
    return rows[0]["read"]


async def test_fifty_claims_of_one_wdk_id_leave_one_owner_of_it(user, unit):
    streams = [await StreamRepository().create(user.id, "plasmodb") for _ in range(50)]

    async def claim(stream):
        async with unit() as session:
            await StreamRepository(session).update_projection(stream.id, wdk_strategy_id=7)

    for _ in range(3):
        await asyncio.gather(*(claim(stream) for stream in streams))
        assert await StreamProjection.filter(user_id=user.id, wdk_strategy_id=7).count() == 1
