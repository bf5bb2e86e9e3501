"""Long-lived writers that keep a ledger of what they were told."""

import asyncio
import time
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from tortoise.transactions import in_transaction

from veupath_store import UserRepository, async_session_factory
from veupath_store.errors import OutcomeUnknownError, UnavailableError
from veupath_store.models import User


@dataclass
class Ledger:
    """What 64 writers were told about each row."""

    acknowledged: set[UUID] = field(default_factory=set)
    refused: set[UUID] = field(default_factory=set)
    unknown: set[UUID] = field(default_factory=set)
    seen_missing: set[UUID] = field(default_factory=set)
    last_write: dict[int, float] = field(default_factory=dict)

    async def assert_true(self, watcher) -> None:
        """Every acknowledged row is there, and no refused one."""
        stored = {row["id"] for row in await watcher.fetch("SELECT id FROM users")}
        assert not self.acknowledged - stored, "an acknowledged write is lost"
        assert not self.refused & stored, "a write is there that was said not to be saved"
        assert not self.seen_missing & stored, "a write appeared after it was read back as missing"

    def alive_since(self, moment: float) -> int:
        """How many writers have written since then."""
        return sum(written > moment for written in self.last_write.values())


async def _in_session(row: UUID) -> None:
    async with async_session_factory() as session:
        await User.create(id=row, using_db=session.client)


async def _in_autocommit(row: UUID) -> None:
    await UserRepository().get_or_create(row)


async def _in_plain_tortoise(row: UUID) -> None:
    async with in_transaction("default"):
        await User.create(id=row)


_WAYS = (_in_session, _in_autocommit, _in_plain_tortoise)


async def write_until(stop: asyncio.Event, number: int, ledger: Ledger) -> None:
    """One writer: each row is new; an unavailable store is tried again, an unknown outcome is read back."""
    while not stop.is_set():
        row = uuid4()
        try:
            await _WAYS[number % len(_WAYS)](row)
        except UnavailableError:
            ledger.refused.add(row)
            await asyncio.sleep(0.01)
        except OutcomeUnknownError:
            ledger.unknown.add(row)
            await _read_back(row, ledger)
        else:
            ledger.acknowledged.add(row)
            ledger.last_write[number] = time.monotonic()


async def _read_back(row: UUID, ledger: Ledger) -> None:
    while True:
        try:
            found = await UserRepository().get_by_id(row)
        except UnavailableError:
            await asyncio.sleep(0.01)
        else:
            (ledger.acknowledged if found else ledger.seen_missing).add(row)
            return
