"""The data of ``make bench-scale``: a world of fixed size, and around it the rows of more and more other users.

The world's users own the same rows at every size, so that a workload has the same to do; what grows is what stands
around these rows in tables and indexes. The server makes the rows, a few conversations of everybody at a time, as
they would come in years: a user's rows lie far apart. Ids are random (version 4 or hashes), as the application's are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import orjson

from benchmarks.world import GENES, HEAVY, ORDINARY, SITE, SITES, TAGS, Sizes, World, fill, identity, without_gin

OWN: Final = 100
"""Conversations of an ordinary user."""

HEAVY_SHARE: Final = 5
"""A heavy user has so many times fewer conversations than the smallest size in which there is one."""

_FIRST: Final = 100
"""The number of the first of the others; those below are the world's."""

_PORTIONS: Final = 20
"""Into so many parts, one after the other, the conversations of a step are divided."""


_WORLD: Final = Sizes(users=ORDINARY + 3, conversations=OWN, each=OWN, control_sets=0)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How far it grows.

    Attributes:
        rows: Conversations, and operations, of other users at each step, from few to many.
        heavy_from: From this size on there are heavy users, each with a fifth as many conversations.
        world: What is the same at each step.
    """

    rows: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    heavy_from: int = 100_000
    world: Sizes = _WORLD

    @property
    def heavy_conversations(self) -> int:
        """Conversations of a heavy user."""
        return self.heavy_from // HEAVY_SHARE

    def heavy_users(self, rows: int) -> range:
        """The numbers of the heavy users: one at first, one more for each three times as much."""
        count = 0 if rows < self.heavy_from else 1 + min(4, rows // (3 * self.heavy_from))
        return range(_FIRST, _FIRST + count)

    def ordinary_users(self, rows: int) -> range:
        """The numbers of the other users with conversations. They begin behind all heavy ones."""
        left = rows - len(self.heavy_users(rows)) * self.heavy_conversations
        first = _FIRST + 10
        return range(first, first + max(1, left // OWN))

    def users(self, rows: int) -> int:
        """How many users there are, those without a conversation included."""
        return max(20, rows // OWN)


# The conversations $3 to $4 of users $1 to $2, an operation for each: one in fifty is active.
_CONVERSATIONS: Final = """
WITH made AS (
    SELECT md5('stream' || u || '-' || n)::uuid AS id, md5('user' || u)::uuid AS owner, u, n,
           timestamptz '2026-01-01 00:00Z' + n * interval '1 minute' AS moment
    FROM generate_series($3::int, $4::int) n, generate_series($1::int, $2::int) u
), stream AS (
    INSERT INTO streams (id, user_id, site_id, created_at) SELECT id, owner, $5::text, moment FROM made
), operation AS (
    INSERT INTO operations (id, user_id, stream_id, type, status, created_at, completed_at, worker_id, lease_token,
                            heartbeat_at, lease_expires_at, attempts)
    SELECT gen_random_uuid(), owner, id, 'chat', CASE WHEN active THEN 'active' ELSE 'completed' END, moment,
           CASE WHEN NOT active THEN moment END, 'host-1', CASE WHEN active THEN gen_random_uuid() END,
           moment, CASE WHEN active THEN now() + interval '1 day' END, 1
    FROM (SELECT *, (u + n) % 50 = 0 AS active FROM made) made
)
INSERT INTO stream_projections (stream_id, user_id, site_id, name, record_type, wdk_strategy_id, message_count,
                                step_count, plan, updated_at)
SELECT id, owner, $5::text, CASE WHEN n = 1 THEN 'Strategy' ELSE 'Strategy (' || n - 1 || ')' END, 'transcript',
       CASE WHEN n % 2 = 0 THEN 1000000000 + u::bigint * 100000 + n END, n % 20, n % 5, $6::jsonb, moment FROM made"""

_USERS: Final = """
INSERT INTO users (id, external_id)
SELECT md5('user' || n)::uuid, 'user' || n || '@example.org' FROM generate_series($1::int, $2::int) n
ON CONFLICT DO NOTHING"""

# Numbered as the world numbers them, but for the tags and genes of the others, which nobody asks for: a search finds
# as much at every size. All have the tag "curated".
_CONTROL_SETS: Final = f"""
INSERT INTO control_sets (id, user_id, name, site_id, record_type, positive_ids, negative_ids, source, tags, is_public,
                          created_at)
SELECT {{id}}, md5('user' || {{owner}})::uuid, 'Set ' || n, ($3::text[])[1 + n % {len(SITES)}],
       'transcript', (SELECT jsonb_agg({{gene}} || (n * 10 + k) % {GENES}) FROM generate_series(0, 9) k),
       (SELECT jsonb_agg({{gene}} || (n * 10 + k + 8000) % {GENES}) FROM generate_series(0, 9) k), 'curation',
       jsonb_build_array({{tag}}, 'curated'), n / 400 % 2 = 0, timestamptz '2026-01-01 00:00Z' + n * interval '1 second'
FROM (SELECT {{number}} AS n, i FROM generate_series($1::int, $2::int) i) numbered"""
_ASKED: Final = _CONTROL_SETS.format(
    id="md5('set' || n)::uuid", owner="$4::int", gene="'PF3D7_'", tag="'tag8'", number=f"8 + {TAGS} * i"
)
_OTHERS: Final = _CONTROL_SETS.format(
    id="gen_random_uuid()", owner="($4::int + i % 10)", gene="'TGME49_'", tag=f"'other' || i % {TAGS}", number="i"
)

_EXPERIMENTS: Final = """
INSERT INTO experiments (id, user_id, site_id, name, status, data)
SELECT gen_random_uuid(), md5('user' || $3::int + n % 10)::uuid, $4, 'Run ' || n, 'completed', $5::jsonb
FROM generate_series($1::int, $2::int) n"""


async def begin(connection: asyncpg.Connection, world: World) -> None:
    """Fill a migrated, empty database with what is the same at each step."""
    await fill(connection, world)
    owner = (TAGS + 8) % world.sizes.users
    await connection.execute(_ASKED, 0, 99, list(SITES), owner)


async def grow(connection: asyncpg.Connection, growth: Growth, world: World, before: int, rows: int) -> None:
    """Add the others' rows, from one size to the next; then VACUUM ANALYZE.

    The world's ordinary user is made anew among them, so that its rows lie as far apart as everybody's.
    """
    plan = orjson.dumps(world.small_plan).decode()
    first = growth.ordinary_users(rows).start
    await connection.execute(_USERS, _FIRST, first + growth.users(rows))
    await connection.execute("DELETE FROM streams WHERE user_id = $1", identity("user", HEAVY))
    # What was registered at the size before would be in the way.
    await connection.execute("DELETE FROM operations WHERE user_id = $1", identity("user", ORDINARY))
    known = growth.ordinary_users(before) if before else range(first, first)
    heavy = growth.heavy_users(rows)[len(growth.heavy_users(before)) :]
    crowds: tuple[tuple[Iterable[int], int], ...] = (
        (range(HEAVY, HEAVY + 1), OWN),
        (range(known.stop, growth.ordinary_users(rows).stop), OWN),
        (heavy, growth.heavy_conversations),
    )
    for portion in range(_PORTIONS):
        for users, count in crowds:
            numbers = list(users)
            start, end = portion * count // _PORTIONS, (portion + 1) * count // _PORTIONS
            if numbers and end > start:
                await connection.execute(_CONVERSATIONS, numbers[0], numbers[-1], start + 1, end, SITE, plan)
    async with without_gin(connection):
        await connection.execute(_OTHERS, before // 5 + 1, rows // 5, list(SITES), first)
    await connection.execute(_EXPERIMENTS, before // 20 + 1, rows // 20, first, SITE, plan)
    await connection.execute("VACUUM ANALYZE")


async def counted(connection: asyncpg.Connection) -> dict[str, Any]:
    """How many rows the large tables have, and the size of the database in bytes."""
    tables = ("users", "stream_projections", "control_sets", "operations", "experiments")
    counts = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
    return {**counts, "bytes": await connection.fetchval("SELECT pg_database_size(current_database())")}
