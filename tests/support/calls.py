"""What tests do around the store's calls: expect a refusal, walk through pages, make a conversation."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import pytest

from tests.support.servers import until
from veupath_store import StreamRepository
from veupath_store.models import StreamProjection
from veupath_store.session import get_engine

E = TypeVar("E", bound=Exception)


async def refusal(expected: type[E], call: Awaitable[Any], match: str | None = None) -> E:
    """The error of that type with which a call must fail."""
    with pytest.raises(expected, match=match) as caught:
        await call
    return caught.value


async def all_pages(read: Callable[..., Awaitable[Any]], limit: int, **given: Any) -> list[list[Any]]:
    """The items of each page of a list, from the first page to the last."""
    cursor, pages = None, list[list[Any]]()
    while len(pages) < 1_000:
        page = await read(cursor=cursor, limit=limit, **given)
        assert len(page.items) <= limit
        pages.append(page.items)
        if (cursor := page.next_cursor) is None:
            return pages
    raise AssertionError("pages without an end")


async def all_items(read: Callable[..., Awaitable[Any]], limit: int, **given: Any) -> list[Any]:
    """The items of all pages of a list."""
    return [item for page in await all_pages(read, limit, **given) for item in page]


async def new_stream(user: Any, site: str = "plasmodb", name: str = "", **columns: Any) -> UUID:
    """The id of a new conversation, whose projection has these values."""
    made = await StreamRepository().create(user.id, site, name=name)
    if columns:
        await StreamRepository().update_projection(made.id, **columns)
    return made.id


async def insert_streams(user_id: UUID, count: int, **columns: str) -> None:
    """Many conversations in one statement; their columns are SQL, in which they are numbered `n` from 1 on."""
    columns = {"site_id": "'plasmodb'", "name": "'c' || n", **columns}
    await StreamProjection._meta.db.execute_rows(
        f"WITH made AS MATERIALIZED (SELECT gen_random_uuid() AS id, n, {columns['site_id']} AS site "
        "                            FROM generate_series(1, $2::int) n), "
        "     streams AS (INSERT INTO streams (id, user_id, site_id) SELECT id, $1, site FROM made) "
        f"INSERT INTO stream_projections (stream_id, user_id, {', '.join(columns)}) "
        f"SELECT id, $1, {', '.join(columns.values())} FROM made",
        [user_id, count],
    )


async def projection(stream_id: UUID) -> StreamProjection:
    """The projection of a conversation that is there."""
    found = await StreamRepository().get_projection(stream_id)
    assert found is not None
    return found


async def waiting_for_a_lock() -> None:
    """Until a statement of this database waits for another transaction."""
    client = await get_engine().open()
    sql = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def is_waiting() -> bool:
        return bool(await client.execute_rows(sql))

    await until(is_waiting, within=3, what="a statement waits for a lock")
