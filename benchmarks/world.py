"""The data that everything is measured on: made by the server in a few statements."""

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

SITES: Final = ("plasmodb", "toxodb", "fungidb", "tritrypdb", "cryptodb", "giardiadb", "amoebadb", "vectorbase")
SITE: Final = SITES[0]

# Users with a part to play; the others have a few conversations each.
HEAVY, BIG_PLANS, NAMER, SYNCER, PRUNER, PURGED, JOBS, ORDINARY = range(8)

GENES: Final = 50_000
TAGS: Final = 400


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much there is.

    Attributes:
        users: Users, at least `ORDINARY` and the callers of the mixed workload.
        conversations: Conversations of one of them; the others have `each`.
        each: Conversations of an ordinary user.
        big_plans: Conversations of the one whose plans have `big` bytes.
        names: Conversations of the one who calls them all the same.
        control_sets: Control sets.
        experiments: Experiments of one user.
        operations: Operations whose leases have expired.
        syncs: Strategies of the two WDK servers.
        purged: Rows of the user that is purged.
        rebuilt: Conversations that are rebuilt from their logs.
        callers: Concurrent callers of the mixed workload, and the calls of each.
        big: Bytes of a big plan; an experiment's document has twice as many.
    """

    users: int = 1_000
    conversations: int = 2_000
    each: int = 5
    big_plans: int = 60
    names: int = 1_000
    control_sets: int = 100_000
    experiments: int = 200
    operations: int = 10_000
    syncs: tuple[int, int] = (200, 1_000)
    purged: int = 10_000
    rebuilt: int = 1_000
    callers: tuple[int, int] = (64, 20)
    big: int = 100_000


TINY: Final = Sizes(
    users=20,
    conversations=120,
    each=2,
    big_plans=4,
    names=5,
    control_sets=500,
    experiments=5,
    operations=20,
    syncs=(5, 10),
    purged=50,
    rebuilt=5,
    callers=(4, 4),
    big=3_000,
)
"""Enough for a test of the machinery."""


def identity(kind: str, number: object) -> UUID:
    """The id of a row; the server makes the same one: ``md5('user' || 7)::uuid``."""
    return UUID(hashlib.md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest())


def plan_of(size: int) -> dict[str, Any]:
    """A strategy's plan of about that many bytes as JSON: searches of a few hundred bytes, combined one by one."""
    chance = random.Random(size)  # noqa: S311 - data
    node, number = _search(0, chance), 0
    while len(orjson.dumps(node)) < size - 300:
        # Several at once: looking at the size after each would take long.
        for _ in range(max(1, size // 10_000)):
            number += 1
            node = {
                "id": f"c{number}",
                "operator": "INTERSECT",
                "primaryInput": node,
                "secondaryInput": _search(number, chance, max(1, size // 10_000)),
            }
    return {"recordType": "transcript", "root": node, "metadata": {"name": "Kinases"}}


def _search(number: int, chance: random.Random, terms: int = 1) -> dict[str, Any]:
    text = [f"{chance.getrandbits(64):016x}" for _ in range(4 * terms)]
    parameters = {"organism": ["Plasmodium falciparum 3D7"], "text_expression": text}
    return {"id": f"s{number}", "searchName": "GenesByText", "displayName": "Text", "parameters": parameters}


@dataclass(frozen=True)
class World:
    """The data, as the workloads know them."""

    sizes: Sizes = field(default_factory=Sizes)
    small_plan: dict[str, Any] = field(default_factory=lambda: plan_of(1_000))

    def __post_init__(self) -> None:
        object.__setattr__(self, "big_plan", plan_of(self.sizes.big))
        object.__setattr__(self, "document", {"runs": [self.big_plan, self.big_plan], "score": 0.5})

    big_plan: dict[str, Any] = field(init=False)
    document: dict[str, Any] = field(init=False)


_USERS: Final = """
INSERT INTO users (id, external_id)
SELECT md5('user' || n)::uuid, 'user' || n || '@example.org' FROM generate_series(0, $1::int - 1) n"""

_CONVERSATIONS: Final = """
WITH made AS (
    SELECT md5('stream' || u || '-' || n)::uuid AS id, md5('user' || u)::uuid AS owner, n,
           timestamptz '2026-01-01 00:00Z' + n * interval '1 minute' AS moment
    FROM generate_series($1::int, $2::int) u, generate_series(1, $3::int) n
), stream AS (
    INSERT INTO streams (id, user_id, site_id, created_at) SELECT id, owner, $4::text, moment FROM made
)
INSERT INTO stream_projections (stream_id, user_id, site_id, name, record_type, message_count, step_count, plan,
                                updated_at)
SELECT id, owner, $4::text, CASE WHEN n = 1 THEN $6::text ELSE $6::text || ' (' || n - 1 || ')' END, 'transcript',
       n % 20, n % 5, $5::jsonb, moment FROM made"""

_CONTROL_SETS: Final = f"""
INSERT INTO control_sets (id, user_id, name, site_id, record_type, positive_ids, negative_ids, source, tags, is_public,
                          created_at)
SELECT md5('set' || n)::uuid, md5('user' || n % $2::int)::uuid, 'Set ' || n, ($3::text[])[1 + n % {len(SITES)}],
       'transcript', {{positive}}, {{negative}}, 'curation',
       jsonb_build_array('tag' || n % {TAGS}, 'curated'), n / {TAGS} % 2 = 0,
       timestamptz '2026-01-01 00:00Z' + n * interval '1 second'
FROM generate_series(1, $1::int) n""".format(
    **{
        name: f"(SELECT jsonb_agg('PF3D7_' || (n * 10 + k + {offset}) % {GENES}) FROM generate_series(0, 9) k)"
        for name, offset in (("positive", 0), ("negative", 8 * 1_000))
    }
)

_GIN: Final = {
    "control_sets_positive_ids_idx": "positive_ids",
    "control_sets_negative_ids_idx": "negative_ids",
    "control_sets_tags_idx": "tags",
}

_EXPERIMENTS: Final = """
INSERT INTO experiments (id, user_id, site_id, name, status, data, created_at, updated_at)
SELECT md5('experiment' || n)::uuid, $2, $3, 'Run ' || n, 'completed', $4::jsonb,
       timestamptz '2026-01-01 00:00Z' + n * interval '1 minute',
       timestamptz '2026-01-01 00:00Z' + n * interval '1 minute'
FROM generate_series(1, $1::int) n"""

_OPERATIONS: Final = """
INSERT INTO operations (id, user_id, type, status, worker_id, lease_token, attempts, heartbeat_at, lease_expires_at)
SELECT md5('operation' || n)::uuid, $2, 'experiment', 'active', 'host-1', md5('token' || n)::uuid, 1,
       now() - interval '2 minutes', now() - interval '1 minute'
FROM generate_series(1, $1::int) n"""


async def fill(connection: asyncpg.Connection, world: World) -> None:
    """Fill a migrated, empty database."""
    sizes = world.sizes
    small, big = orjson.dumps(world.small_plan).decode(), orjson.dumps(world.big_plan).decode()
    await connection.execute(_USERS, sizes.users)
    for first, last, count, plan, name in (
        (HEAVY, HEAVY, sizes.conversations, small, "Strategy"),
        (BIG_PLANS, BIG_PLANS, sizes.big_plans, big, "Strategy"),
        (NAMER, NAMER, sizes.names, small, "Kinases"),
        (ORDINARY, sizes.users - 1, sizes.each, small, "Strategy"),
    ):
        await connection.execute(_CONVERSATIONS, first, last, count, SITE, plan, name)
    async with without_gin(connection):
        await connection.execute(_CONTROL_SETS, sizes.control_sets, sizes.users, list(SITES))
    document = orjson.dumps({"runs": [world.small_plan] * 20}).decode()
    await connection.execute(_EXPERIMENTS, sizes.experiments, identity("user", HEAVY), SITE, document)
    await expire(connection, sizes.operations)
    await connection.execute("VACUUM ANALYZE")


@asynccontextmanager
async def without_gin(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Builds the control sets' GIN indexes at the end, at once: a tenth of the time that adding to them takes."""
    await connection.execute(f"DROP INDEX {', '.join(_GIN)}")
    yield
    for index, column in _GIN.items():
        await connection.execute(f"CREATE INDEX {index} ON control_sets USING gin ({column} jsonb_ops)")


async def expire(connection: asyncpg.Connection, count: int) -> None:
    """Operations whose workers were lost, anew."""
    await connection.execute("DELETE FROM operations WHERE user_id = $1", identity("user", JOBS))
    await connection.execute(_OPERATIONS, count, identity("user", JOBS))
