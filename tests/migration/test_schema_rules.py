"""The rules that the schema itself enforces, tried in plain SQL."""

from uuid import uuid4

import asyncpg
import pytest

from tests.support.databases import connected


@pytest.fixture
async def db(database_url):
    async with connected(database_url) as connection:
        yield connection


async def add(db, table, **values):
    """Insert a row with what it needs; return its key."""
    needed = {
        "users": {},
        "streams": {"site_id": "plasmodb"},
        "stream_projections": {"site_id": "plasmodb", "name": uuid4().hex},
        "gene_sets": {"site_id": "plasmodb", "name": "Kinases"},
        "control_sets": {"site_id": "plasmodb", "name": "Kinases", "record_type": "transcript"},
        "experiments": {"site_id": "plasmodb", "data": "{}"},
        "operations": {"type": "chat"},
        "stream_events": {"operation_id": "", "type": "user_message", "data": "{}"},
    }[table]
    key = {"stream_projections": "stream_id", "stream_events": "key"}.get(table, "id")
    row = {key: uuid4(), **needed, **values}
    marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())
    return row[key]


async def add_everything(db, user):
    stream = await add(db, "streams", user_id=user)
    gene_set = await add(db, "gene_sets", user_id=user)
    await add(db, "stream_projections", stream_id=stream, user_id=user, gene_set_id=gene_set)
    await add(db, "stream_events", user_id=user, stream_id=stream)
    await add(db, "operations", user_id=user, stream_id=stream)
    await add(db, "operations", user_id=user, type="experiment")
    await add(db, "experiments", user_id=user)
    await add(db, "control_sets", user_id=user)
    await add(db, "control_sets", user_id=user, is_public=True)


async def owners(db):
    """How many rows each owner has in each table with an owner."""
    tables = await db.fetch(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'user_id'"
    )
    assert len(tables) == 8
    return {
        (row["table_name"], counted["user_id"]): counted["count"]
        for row in tables
        for counted in await db.fetch(f"SELECT user_id, count(*) FROM {row['table_name']} GROUP BY user_id")
    }


async def test_deleting_a_user_deletes_all_of_theirs_but_a_public_control_set(db):
    leaving, staying = await add(db, "users"), await add(db, "users")
    for user in (leaving, staying):
        await add_everything(db, user)
    await add(db, "control_sets")
    before = await owners(db)
    await db.execute("DELETE FROM users WHERE id = $1", leaving)
    after = await owners(db)
    assert after == {
        **{key: count for key, count in before.items() if key[1] != leaving},
        ("control_sets", None): before["control_sets", None] + 1,
    }
    assert await db.fetchval("SELECT count(*) FROM control_sets WHERE user_id IS NULL AND is_public") == 1


async def test_deleting_a_gene_set_nulls_the_link_and_nothing_else(db):
    user = await add(db, "users")
    stream, gene_set = await add(db, "streams", user_id=user), await add(db, "gene_sets", user_id=user)
    links = {"stream_id": stream, "gene_set_id": gene_set}
    await add(db, "stream_projections", user_id=user, gene_set_auto_imported=True, **links)
    before = await db.fetchrow("SELECT * FROM stream_projections")
    await db.execute("DELETE FROM gene_sets")
    after = await db.fetchrow("SELECT * FROM stream_projections")
    assert dict(after) == {**dict(before), "gene_set_id": None}


async def test_deleting_a_stream_deletes_its_projection_and_operations_and_keeps_its_gene_set(db):
    user = await add(db, "users")
    await add_everything(db, user)
    await db.execute("DELETE FROM streams")
    left = await owners(db)
    assert (left["gene_sets", user], left["operations", user]) == (1, 1)
    assert not {("stream_projections", user), ("stream_events", user)} & left.keys()


async def test_what_is_another_users_cannot_be_linked(db):
    user, stranger = await add(db, "users"), await add(db, "users")
    stream, foreign = await add(db, "streams", user_id=user), await add(db, "gene_sets", user_id=stranger)
    for table, links, key in (
        ("stream_projections", {"user_id": user, "gene_set_id": foreign}, "stream_projections_gene_set_fkey"),
        ("stream_projections", {"user_id": stranger}, "stream_projections_stream_fkey"),
        ("operations", {"user_id": stranger}, "operations_stream_fkey"),
    ):
        with pytest.raises(asyncpg.ForeignKeyViolationError, match=key):
            await add(db, table, stream_id=stream, **links)


async def test_a_wdk_id_is_unique_within_user_and_site_and_only_where_there_is_one(db):
    user, stranger = await add(db, "users"), await add(db, "users")

    async def link(owner, site, wdk_id):
        stream = await add(db, "streams", user_id=owner, site_id=site)
        await add(db, "stream_projections", stream_id=stream, user_id=owner, site_id=site, wdk_strategy_id=wdk_id)

    await link(user, "plasmodb", 7)
    for owner, site, wdk_id in (
        (stranger, "plasmodb", 7), (user, "toxodb", 7), (user, "plasmodb", 8),
        (user, "plasmodb", None), (user, "plasmodb", None),
    ):  # fmt: skip
        await link(owner, site, wdk_id)
    with pytest.raises(asyncpg.UniqueViolationError, match="stream_projections_wdk_key"):
        await link(user, "plasmodb", 7)


REFUSED = (
    ("gene_sets", {"gene_ids": "{}"}, "gene_sets_gene_ids_check"),
    ("gene_sets", {"parent_set_ids": "1"}, "gene_sets_parent_set_ids_check"),
    ("gene_sets", {"source": "stolen"}, "gene_sets_source_check"),
    ("control_sets", {"positive_ids": "{}"}, "control_sets_positive_ids_check"),
    ("control_sets", {"negative_ids": "null"}, "control_sets_negative_ids_check"),
    ("control_sets", {"tags": '"a"'}, "control_sets_tags_check"),
    ("operations", {"status": "paused"}, "operations_status_check"),
)


async def test_checks_refuse_what_no_reader_expects(db):
    user = await add(db, "users")
    for table, values, constraint in REFUSED:
        await add(db, table, user_id=user)
        with pytest.raises(asyncpg.CheckViolationError, match=constraint):
            await add(db, table, user_id=user, **values)


async def test_a_projection_is_dismissed_with_a_reason_or_not_at_all(db):
    user = await add(db, "users")
    await add_everything(db, user)
    for wrong in ("dismissed_at = now()", "dismissed_reason = 'user'", "dismissed_at = now(), dismissed_reason = 'x'"):
        with pytest.raises(asyncpg.CheckViolationError, match="stream_projections_dismissed_check"):
            await db.execute(f"UPDATE stream_projections SET {wrong}")
    with pytest.raises(asyncpg.CheckViolationError, match="stream_projections_plan_check"):
        await db.execute("UPDATE stream_projections SET plan = '[]'")
    await db.execute("UPDATE stream_projections SET dismissed_at = now(), dismissed_reason = 'user'")


async def test_no_unique_rule_is_without_the_owner(db):
    """Uniqueness over all users lets one user's row block another's, and tells that it is there."""
    unique = await db.fetch("""
        SELECT i.indexrelid::regclass::text AS name, a.attname AS first_column
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique AND NOT i.indisprimary
          AND c.relname NOT IN ('users', 'aerich')
    """)
    assert len(unique) >= 4
    assert {row["name"]: row["first_column"] for row in unique if row["first_column"] != "user_id"} == {}


async def test_each_foreign_key_has_an_index_that_its_delete_can_use(db):
    """Otherwise a delete of one user reads whole tables."""
    missing = await db.fetch("""
        SELECT k.conname FROM pg_constraint k
        WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = k.conrelid
              AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
              AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) ~ '^\\(\\w+ IS NOT NULL\\)$'))
    """)
    assert [row["conname"] for row in missing] == ["stream_projections_stream_fkey"], "it has the primary key"


async def test_every_time_is_with_time_zone(db):
    wrong = await db.fetch("""
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND data_type IN ('timestamp without time zone', 'time without time zone')
    """)
    assert wrong == []
