"""The WDK server's list of strategies, brought in, and seen again unchanged."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias
from uuid import uuid4

import asyncpg
from tortoise.timezone import now
from tortoise.transactions import in_transaction

from benchmarks import replaced as old
from benchmarks.workload import BULK, Sessions, Workload
from benchmarks.world import SITE, SYNCER, World, identity
from veupath_store import StreamRepository
from veupath_store.models import Stream, StreamProjection
from veupath_store.values import SyncReport

Strategy: TypeAlias = dict[str, Any]
Outcomes: TypeAlias = dict[int, str]

_COMPARED: Final = ("record_type", "is_saved", "result_count", "step_count")


def strategies(count: int) -> list[Strategy]:
    """What the server tells; a tenth of them have a name that another one has."""
    return [
        {
            "wdk_strategy_id": 1_000_000 + number,
            "name": f"Strategy {number - number % 10 if number % 10 == 1 else number}",
            "record_type": "transcript",
            "is_saved": number % 3 == 0,
            "result_count": number * 7,
            "step_count": 1 + number % 8,
        }
        for number in range(count)
    ]


_KNOWN: Final = """
SELECT stream_id, wdk_strategy_id, record_type, is_saved, result_count, step_count, dismissed_at
FROM stream_projections WHERE user_id = $1 AND site_id = $2 AND wdk_strategy_id = ANY ($3)"""
_CHANGE: Final = """
UPDATE stream_projections p SET record_type = g.record_type, is_saved = g.is_saved, result_count = g.result_count,
    step_count = g.step_count, updated_at = now()
FROM unnest($3::bigint[], $4::text[], $5::boolean[], $6::integer[], $7::integer[])
    AS g(id, record_type, is_saved, result_count, step_count)
WHERE p.user_id = $1 AND p.site_id = $2 AND p.wdk_strategy_id = g.id AND p.dismissed_at IS NULL"""
_ADD: Final = """
WITH projection AS (
    INSERT INTO stream_projections
        (stream_id, user_id, site_id, wdk_strategy_id, name, record_type, is_saved, result_count, step_count,
         updated_at)
    SELECT gen_random_uuid(), $1, $2, g.id, g.name, g.record_type, g.is_saved, g.result_count, g.step_count,
           now() - g.position * interval '1 microsecond'
    FROM unnest($3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::integer[], $8::integer[])
        WITH ORDINALITY AS g(id, name, record_type, is_saved, result_count, step_count, position)
    ON CONFLICT DO NOTHING RETURNING stream_id, wdk_strategy_id
), stream AS (
    INSERT INTO streams (id, user_id, site_id) SELECT stream_id, $1, $2 FROM projection
)
SELECT wdk_strategy_id FROM projection"""


class SyncFirst(Workload):
    """All are new."""

    name = "WDK sync of 200, first"
    raw_goal = BULK
    alchemy_goal = 20.0
    place = 0

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.user_id, self.given = identity("user", SYNCER), strategies(world.sizes.syncs[self.place])

    async def before(self, connection: asyncpg.Connection) -> None:
        await connection.execute("DELETE FROM streams WHERE user_id = $1", self.user_id)

    async def raw(self, pool: asyncpg.Pool) -> object:
        # Without locks, which ours takes: the UPDATE is guarded, and an INSERT that loses a race is sent again.
        ids = [item["wdk_strategy_id"] for item in self.given]
        known = {row["wdk_strategy_id"]: row for row in await pool.fetch(_KNOWN, self.user_id, SITE, ids)}
        outcomes = dict.fromkeys(known, "unchanged")
        changed, new = [], []
        for item in self.given:
            row = known.get(item["wdk_strategy_id"])
            if row is None:
                new.append(item)
            elif row["dismissed_at"] is not None:
                outcomes[item["wdk_strategy_id"]] = "skipped"
            elif any(row[name] != item[name] for name in _COMPARED):
                changed.append(item)
                outcomes[item["wdk_strategy_id"]] = "updated"
        if changed:
            await pool.execute(_CHANGE, self.user_id, SITE, *_arrays(changed, ("wdk_strategy_id", *_COMPARED)))
        await self._add(pool, new)
        return outcomes | {item["wdk_strategy_id"]: "inserted" for item in new}

    async def _add(self, pool: asyncpg.Pool, new: list[Strategy]) -> None:
        """Number the names among the new ones, try, and go on numbering those whose names were taken."""
        uses: dict[str, int] = {}
        while new:
            named = []
            for item in new:
                number = uses.get(item["name"], 0)
                uses[item["name"]] = number + 1
                named.append({**item, "name": f"{item['name']} ({number})"} if number else item)
            columns = _arrays(named, ("wdk_strategy_id", "name", *_COMPARED))
            added = {row["wdk_strategy_id"] for row in await pool.fetch(_ADD, self.user_id, SITE, *columns)}
            new = [item for item in new if item["wdk_strategy_id"] not in added]

    async def tortoise(self) -> object:
        outcomes: Outcomes = {}
        async with in_transaction():
            for item in self.given:
                mine = StreamProjection.filter(user_id=self.user_id, site_id=SITE)
                row = await mine.get_or_none(wdk_strategy_id=item["wdk_strategy_id"])
                if row is None:
                    outcomes[item["wdk_strategy_id"]] = await self._create(item)
                elif row.dismissed_at is not None:
                    outcomes[item["wdk_strategy_id"]] = "skipped"
                elif any(getattr(row, name) != item[name] for name in _COMPARED):
                    row.update_from_dict({**{name: item[name] for name in _COMPARED}, "updated_at": now()})
                    await row.save()
                    outcomes[item["wdk_strategy_id"]] = "updated"
                else:
                    outcomes[item["wdk_strategy_id"]] = "unchanged"
        return outcomes

    async def _create(self, item: Strategy) -> str:
        name, number = item["name"], 0
        while await StreamProjection.filter(user_id=self.user_id, site_id=SITE, name=name).exists():
            number += 1
            name = f"{item['name']} ({number})"
        stream = await Stream.create(id=uuid4(), user_id=self.user_id, site_id=SITE)
        given = {**item, "name": name, "plan": {}}
        await StreamProjection.create(stream_id=stream.id, user_id=self.user_id, site_id=SITE, **given)
        return "inserted"

    async def alchemy(self, sessions: Sessions) -> object:
        # Slow on purpose: the replaced layer went through the list, with a read and a flush for each strategy, and
        # read the names again for each new one.
        outcomes: Outcomes = {}
        projection = old.StreamProjection
        async with sessions() as session:
            for item in self.given:
                row = await session.scalar(
                    old.sa.select(projection).where(
                        projection.user_id == self.user_id,
                        projection.site_id == SITE,
                        projection.wdk_strategy_id == item["wdk_strategy_id"],
                    )
                )
                outcomes[item["wdk_strategy_id"]] = await self._replaced(session, row, item)
            await session.commit()
        return outcomes

    async def _replaced(self, session: Any, row: Any, item: Strategy) -> str:  # noqa: ANN401
        if row is None:
            name = await old.free_name(session, self.user_id, SITE, item["name"])
            stream = old.Stream(id=uuid4(), user_id=self.user_id, site_id=SITE)
            session.add(stream)
            await session.flush()
            given = {**item, "name": name}
            session.add(old.StreamProjection(stream_id=stream.id, user_id=self.user_id, site_id=SITE, **given))
            await session.flush()
            return "inserted"
        if row.dismissed_at is not None:
            return "skipped"
        changed = any(getattr(row, name) != item[name] for name in _COMPARED)
        for name in _COMPARED:
            setattr(row, name, item[name])
        await session.flush()
        return "updated" if changed else "unchanged"

    async def ours(self) -> object:
        return await StreamRepository().sync_wdk(self.user_id, SITE, self.given)

    def seen(self, result: Any) -> object:  # noqa: ANN401
        if isinstance(result, SyncReport):
            return {item.wdk_strategy_id: item.outcome.value for item in result.strategies}
        return result

    async def after(self, connection: asyncpg.Connection) -> object:
        return await connection.fetch(
            "SELECT p.wdk_strategy_id, p.name, p.record_type, p.is_saved, p.result_count, p.step_count, p.plan "
            "FROM streams s JOIN stream_projections p ON p.stream_id = s.id WHERE s.user_id = $1 ORDER BY 1",
            self.user_id,
        )


class SyncUnchanged(SyncFirst):
    """All are there as they are."""

    name = "WDK sync of 200, unchanged"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._is_filled = False

    async def before(self, connection: asyncpg.Connection) -> None:
        if not self._is_filled:
            await super().before(connection)
            await self.ours()
            self._is_filled = True


class BigSyncFirst(SyncFirst):
    """All of many are new."""

    name = "WDK sync of 1,000, first"
    place = 1
    weighed = True


class BigSyncUnchanged(SyncUnchanged):
    """All of many are there as they are."""

    name = "WDK sync of 1,000, unchanged"
    place = 1
    weighed = True


def _arrays(rows: Sequence[Strategy], names: Sequence[str]) -> list[list[Any]]:
    return [[row[name] for row in rows] for name in names]
