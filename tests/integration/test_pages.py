"""Pages: complete, in order, stable while others write, and with cursors that cannot be forged into anything."""

import asyncio
import math
from functools import partial
from uuid import uuid4

import pytest

from tests.support.calls import all_items, all_pages, insert_streams, refusal
from veupath_store import InvalidInputError, StreamRepository
from veupath_store.models import GeneSetRow
from veupath_store.values import ProjectionSort

MANY = 237


@pytest.fixture
async def many(user):
    """Conversations of which groups of ten have the very same time."""
    site = "CASE WHEN n % 4 = 0 THEN 'toxodb' ELSE 'plasmodb' END"
    await insert_streams(user.id, MANY, site_id=site, updated_at="now() - (n / 10) * interval '1 minute'")


async def pages(user, limit, **given):
    return await all_pages(partial(StreamRepository().page_projections, user.id), limit, **given)


async def items(user, limit, **given):
    return [item for page in await pages(user, limit, **given) for item in page]


@pytest.mark.parametrize("limit", [1, 7, 100, MANY - 1, MANY, 1000])
async def test_pages_together_are_the_whole_list_in_order_and_so_is_an_iteration(user, many, limit):
    found = await pages(user, limit)
    expected = await StreamRepository().list_projections(user.id, limit=1000)
    assert [item for page in found for item in page] == expected
    assert [item async for item in StreamRepository().iterate_projections(user.id)] == expected
    assert len(expected) == MANY
    assert len(found) == math.ceil(MANY / limit), "a full last page has no successor"


async def test_a_summary_tells_when_the_conversation_was_made_and_what_experiment_it_is_about(user, stranger):
    subject = uuid4()
    made = [
        await StreamRepository().create(user.id, "plasmodb", experiment_id=subject),
        await StreamRepository().create(user.id, "plasmodb"),
    ]
    await StreamRepository().create(stranger.id, "plasmodb")
    for _ in range(2):
        await StreamRepository().update_projection(made[0].id, result_count=1)
    found = await StreamRepository().list_projections(user.id)
    expected = [(it.id, it.created_at, it.experiment_id) for it in made]
    assert [(it.stream_id, it.created_at, it.experiment_id) for it in found] == expected
    assert [it.experiment_id for it in found] == [subject, None]
    assert found[0].created_at < found[0].updated_at


async def test_pages_by_name_and_of_one_site(user, many):
    for site in ("plasmodb", "toxodb"):
        found = await items(user, 13, site_id=site, sort=ProjectionSort.NAME)
        names = [item.name for item in found]
        assert names == sorted(names)
        assert {item.site_id for item in found} == {site}
    assert len(await items(user, 13, site_id="toxodb")) == MANY // 4


async def test_pages_of_dismissed_conversations(user, many):
    listed = await StreamRepository().list_projections(user.id, limit=30)
    for item in listed:
        await StreamRepository().dismiss(item.stream_id)
    assert [item.name for item in await items(user, 7, dismissed=True)] == [item.name for item in reversed(listed)]


async def test_rows_that_come_and_go_between_pages_shift_nothing(user, many):
    listed = await StreamRepository().list_projections(user.id, limit=1000)
    first = await StreamRepository().page_projections(user.id, limit=100)
    await asyncio.gather(*(StreamRepository().create(user.id, "plasmodb", name=f"new {n}") for n in range(20)))
    for item in [*first.items[:10], listed[150]]:
        await StreamRepository().delete(item.stream_id)
    await StreamRepository().update_projection(listed[200].stream_id, result_count=1)
    second = await StreamRepository().page_projections(user.id, limit=1000, cursor=first.next_cursor)
    gone = {listed[150].stream_id, listed[200].stream_id}
    assert second.items == [item for item in listed[100:] if item.stream_id not in gone]


async def test_a_cursor_of_another_list_is_refused_and_of_another_user_shows_nothing_more(user, stranger, many):
    mine = await StreamRepository().page_projections(user.id, limit=5)
    await refusal(
        InvalidInputError, StreamRepository().page_projections(user.id, dismissed=True, cursor=mine.next_cursor)
    )
    theirs = await StreamRepository().page_projections(stranger.id, cursor=mine.next_cursor)
    assert (theirs.items, theirs.next_cursor) == ([], None)


async def test_what_is_left_to_import_is_found_in_sql_in_pages(user, stranger, many):
    listed = await StreamRepository().list_projections(user.id, "plasmodb", limit=40)
    gene_set = await GeneSetRow.create(user_id=user.id, site_id="plasmodb", name="set")
    for number, item in enumerate(listed):
        await StreamRepository().update_projection(item.stream_id, wdk_strategy_id=number)
    await StreamRepository().dismiss(listed[0].stream_id)
    await StreamRepository().update_projection(listed[1].stream_id, gene_set_id=gene_set.id)
    await StreamRepository().update_projection(listed[2].stream_id, gene_set_auto_imported=True)
    expected = sorted(item.stream_id for item in listed[3:])
    found = await all_items(partial(StreamRepository().page_gene_set_imports, user.id, "plasmodb"), 20)
    assert [item.stream_id for item in found] == expected
    assert (await StreamRepository().page_gene_set_imports(stranger.id, "plasmodb")).items == []
