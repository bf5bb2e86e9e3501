"""Tasks that are cancelled at any moment leave no connection, no transaction and no row behind."""

import asyncio
import contextlib
import random
from collections import Counter
from uuid import UUID, uuid4

import pytest
from tortoise.transactions import in_transaction

from tests.support import faults
from tests.support.servers import until
from veupath_store import StreamRepository, UserRepository, async_session_factory
from veupath_store.engine.client import StoreClient
from veupath_store.engine.transaction import StoreTransaction
from veupath_store.models import User

pytestmark = pytest.mark.own_database

CANCELLATIONS = 4_000
AT_ONCE = 16
SEED = 20_261_124


class Phases:
    """Counts what was under way when a task was cancelled."""

    def __init__(self, monkeypatch) -> None:
        self.cut: Counter[str] = Counter()
        for owner, method, phase in (
            (StoreClient, "lend", "acquire"),
            (StoreTransaction, "begin", "BEGIN"),
            (StoreTransaction, "savepoint", "SAVEPOINT"),
            (StoreTransaction, "release_savepoint", "RELEASE SAVEPOINT"),
            (StoreTransaction, "commit", "COMMIT"),
            (StoreClient, "take_back", "release"),
            (StoreClient, "abandon", "rollback"),
            (StoreClient, "_run", "statement in autocommit"),
            (StoreTransaction, "_run", "statement in a transaction"),
        ):
            monkeypatch.setattr(owner, method, self._counted(getattr(owner, method), phase))

    def _counted(self, call, phase: str):
        async def counted(*arguments, **named):
            try:
                return await call(*arguments, **named)
            except asyncio.CancelledError:
                self.cut[phase] += 1
                raise

        return counted


async def _session(user: UUID, row: UUID) -> None:
    async with async_session_factory() as session:
        await StreamRepository(session).create(user, "plasmodb", stream_id=row, name=str(row))
        await StreamRepository(session).dismiss(row)


async def _autocommit(user: UUID, row: UUID) -> None:
    await StreamRepository().create(user, "plasmodb", stream_id=row, name=str(row))


async def _savepoints(user: UUID, row: UUID) -> None:
    async with async_session_factory() as session:
        async with session.savepoint():
            await StreamRepository(session).create(user, "plasmodb", stream_id=row, name=str(row))
        async with session.savepoint():
            await StreamRepository(session).update_projection(row, name="renamed")


async def _plain_tortoise(user: UUID, row: UUID) -> None:
    async with in_transaction("default"):
        await User.create(id=row)
        async with in_transaction("default"):
            await User.filter(id=row).update(external_id=str(row))


async def _undone(user: UUID, row: UUID) -> None:
    with contextlib.suppress(LookupError):
        async with async_session_factory() as session:
            await StreamRepository(session).create(user, "plasmodb", stream_id=row, name=str(row))
            raise LookupError


_WORK = (_session, _autocommit, _savepoints, _plain_tortoise, _undone)
_ALL_PHASES = (
    "acquire",
    "BEGIN",
    "SAVEPOINT",
    "statement in autocommit",
    "statement in a transaction",
    "RELEASE SAVEPOINT",
    "COMMIT",
    "release",
    "rollback",
)


async def test_4000_random_cancellations_leave_the_pool_whole(user, watcher, monkeypatch):
    dice, phases = random.Random(SEED), Phases(monkeypatch)
    finished: dict[UUID, bool] = {}
    rounds = iter(range(CANCELLATIONS))

    async def torment() -> None:
        for number in rounds:
            row, work = uuid4(), _WORK[number % len(_WORK)]
            task = asyncio.create_task(work(user.id, row))
            for _ in range(dice.choice((1, 1, 2))):
                # Nothing, a few ms, or what a unit of work takes while others run: every phase is met.
                await asyncio.sleep(dice.choice((0, dice.random() * 0.004, dice.random() * 0.02)))
                task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                phases.cut["anywhere"] += 1
            else:
                assert task.exception() is None, "a cancelled task ends as cancelled, or well"
                finished[row] = work is not _undone

    await asyncio.gather(*(torment() for _ in range(AT_ONCE)))

    await faults.assert_pool_whole()
    await until(lambda: _none_idle(watcher), within=1, what="no backend idle in transaction")
    for _ in range(100):
        assert await UserRepository().get_by_id(user.id)
    stored = await watcher.fetch(
        "SELECT id FROM streams WHERE id = ANY($1) UNION ALL SELECT id FROM users WHERE id = ANY($1)", list(finished)
    )
    assert {row["id"] for row in stored} == {row for row, kept in finished.items() if kept}
    assert phases.cut["anywhere"] > CANCELLATIONS / 2, phases.cut
    assert not [phase for phase in _ALL_PHASES if phases.cut[phase] < 5], phases.cut


async def _none_idle(watcher) -> bool:
    return await faults.idle_in_transaction(watcher) == 0
