"""The steps of the law's machine, done on real servers."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import asyncpg

from tests.support.law_calls import ANY, USERS, Calls, Things, Written
from tests.support.law_checks import (
    Eyes,
    check_end,
    check_forward,
    check_losses,
    check_rows,
    check_unique,
    parsed,
    same,
)
from tests.support.law_deaths import DeadError, between, dying
from tests.support.law_steps import Call, Nested, Said, Told
from veupath_store.errors import ConflictError, NotFoundError, OutcomeUnknownError, StoreError, UnavailableError
from veupath_store.events.log.entries import Event
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.repositories import StreamRepository, UserRepository
from veupath_store.session import async_session_factory
from veupath_store.values import RebuildOutcome, VerifyOutcome

_BESIDE = {"born", "gene_sets"}
"""What the eyes see beside the row's own columns."""


class ChangedMindError(Exception):
    """What a unit of work raises at its end, or a savepoint at its own."""


class LawWorld:
    """Does steps, and checks after each."""

    def __init__(self, eyes: Eyes, mortal: Any = None) -> None:
        self.eyes = eyes
        self.mortal = mortal
        """What fails Redis, if anything does."""
        self.things = Things()
        self.rows: list[dict[str, Any]] = []
        self.alone = True
        """Whether one step is done at a time, so that what it leaves is known."""

    async def begin(self) -> None:
        for user in USERS:
            await UserRepository().get_or_create(user)
        for name in ("A", "A (1)", ""):
            await StreamRepository().create(USERS[0], "plasmodb", name=name)

    @property
    def is_away(self) -> bool:
        """Whether Redis does not answer now."""
        return self.mortal is not None and bool(self.mortal.away)

    async def check_end(self) -> None:
        """The law."""
        await check_end(self.eyes, self.rows)

    async def check(self) -> None:
        """The invariants; and what there is to choose from now."""
        rows = await self.eyes.rows()
        if not self.is_away:
            await check_rows(self.eyes, rows, losses=self.mortal is not None)
            check_losses(self.rows, rows)
        check_unique(rows)
        check_forward(self.eyes, self.rows, rows)
        self.rows = rows
        self.things.streams = [row["stream_id"] for row in rows]
        gene_sets = await self.eyes.fetch("SELECT id FROM gene_sets ORDER BY created_at, id")
        self.things.gene_sets = [row["id"] for row in gene_sets]

    @contextmanager
    def mortal_step(self, death: str, *, asks_redis: bool = True) -> Iterator[None]:
        """What is done here may die, or be refused for a reason that a caller may hear."""
        try:
            with dying(death, self.kill):
                yield
        except (StoreError, ChangedMindError, DeadError) as exc:
            self.refuse_unexpected(exc, death, asks_redis=asks_redis)

    async def call(self, call: Call, death: str = "") -> None:
        """A call without a session: what it acknowledges is readable."""
        with self.mortal_step(death, asks_redis=False):
            written = await Calls(self.things, None).do(call)
            if self.alone:
                check_written(await self.stored(), written)

    async def unit(self, parts: tuple[Any, ...], ending: str) -> None:
        """A unit of work. What is read in it before its end is what is there after it, if nobody came in between."""
        if any(isinstance(part, Told) for part in parts):
            # A log that is not begun is begun by whoever appends to it, which needs the row's lock.
            await self.work("drain" if self.mortal is None else "sweep", "")
        unit = Unit(self)
        with self.mortal_step(ending):
            async with async_session_factory() as session:
                await unit.run(session, parts)
                if ending == "raise":
                    raise ChangedMindError
            await unit.check_saved()

    async def tell(self, told: Told, *, gone: bool = True) -> None:
        """Events of other processes, whose conversation may be `gone` meanwhile."""
        stream_id = self.things.stream(told.stream)
        events = [event for event in told.events if isinstance(event, Event)]
        for kind, raw in (event for event in told.events if not isinstance(event, Event)):
            fields = {"op": "", "type": kind, "data": raw}
            if not self.is_away:
                self.eyes.redis.xadd(self.eyes.key(stream_id), fields, nomkstream=True)
        try:
            await Projector().append(stream_id, events)
        except NotFoundError:
            assert gone or stream_id not in self.things.streams
        except (UnavailableError, OutcomeUnknownError):
            if not self.is_away:
                raise

    async def catch_up(self, stream: int, workers: int, death: str, change: Call | None = None) -> None:
        stream_id = self.things.stream(stream)
        waiting = await self.eyes.fetch("SELECT FROM stream_events WHERE stream_id = $1", stream_id)
        with dying(death, self.kill), between(change and (lambda: self.call(change))):
            many = [Projector().catch_up(stream_id) for _ in range(workers)]
            done = await asyncio.gather(*many, return_exceptions=True)
        self.refuse_unexpected_of(done, death)
        if self.alone and not waiting and change is None:  # a change may give up again what was taken
            check_taken(self.rows, await self.stored(), stream_id)

    async def work(self, what: str, death: str) -> None:
        worker = ProjectionWorker()
        work = {"drain": worker.drain, "sweep": worker.sweep, "verify": self.verify}[what]
        with self.mortal_step(death):
            await work()

    async def rebuild(self, stream: int, meanwhile: tuple[Told, ...], death: str) -> None:
        stream_id = self.things.stream(stream)
        with dying(death, self.kill):
            told = (self.tell(one) for one in meanwhile)
            done = await asyncio.gather(Projector().rebuild(stream_id=stream_id), *told, return_exceptions=True)
        self.refuse_unexpected_of(done, death)
        if not isinstance(done[0], BaseException):
            expected = set() if self.alone else {RebuildOutcome.BUSY}  # somebody else changed the row meanwhile
            if self.mortal is not None:
                expected.add(RebuildOutcome.BEHIND)
            assert all(one.outcome in expected for one in done[0].refused), done[0]

    async def race(self, several: tuple[tuple[Any, ...], ...]) -> None:
        """Several steps at once."""
        self.alone = False
        many = (getattr(self, name)(*given) for name, *given in several)
        for done in await asyncio.gather(*many, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
        self.alone = True

    async def verify(self) -> None:
        report = await Projector().verify()
        expected = set() if self.mortal is None else {VerifyOutcome.BEHIND}
        assert all(one.outcome in expected for one in report.suspects), report

    async def kill(self, pid: int) -> None:
        await self.eyes.fetch("SELECT pg_terminate_backend($1)", pid)

    async def stored(self) -> dict[UUID, dict[str, Any]]:
        return {row["stream_id"]: row for row in await self.eyes.rows()}

    def refuse_unexpected_of(self, done: list[Any], death: str) -> None:
        """What catching up and rebuilding may meet: that the conversation is gone, never that something is taken."""
        for exc in done:
            assert not isinstance(exc, ConflictError), exc
            if isinstance(exc, BaseException):
                self.refuse_unexpected(exc, death)

    def refuse_unexpected(self, exc: BaseException, death: str, *, asks_redis: bool = True) -> None:
        """What a caller may hear: that it asked for nothing that is there, or is taken; and after a death anything."""
        if asks_redis and self.is_away and isinstance(exc, UnavailableError | OutcomeUnknownError):
            return
        if isinstance(exc, ConflictError | NotFoundError | ChangedMindError):
            return
        if not self.alone and isinstance(exc.__cause__, asyncpg.DeadlockDetectedError):
            return
        if not death or isinstance(exc, AssertionError) or death in ("leave", "raise"):
            raise exc


class Unit:
    """One unit of work, and what was read in it."""

    def __init__(self, world: LawWorld) -> None:
        self.world = world
        self.saved: dict[UUID, dict[str, Any]] = {}

    async def run(self, session: Any, parts: tuple[Any, ...]) -> None:
        for part in parts:
            match part:
                case Told():
                    await self.world.tell(part)
                case Said():
                    await Projector().append(self.world.things.stream(part.stream), part.events, session=session)
                case Nested():
                    await self.nest(session, part)
                case "commit":
                    self.saved = await self.read(session)
                    await session.commit()
                    await self.check_saved()
                case "rollback":
                    await session.rollback()
                case Call():
                    await self.call(session, part)
        self.saved = await self.read(session)

    async def call(self, session: Any, call: Call) -> None:
        written = await Calls(self.world.things, session).do(call)
        if self.world.alone:
            check_written(await self.read(session), written)

    async def nest(self, session: Any, part: Nested) -> None:
        before = await self.read(session)
        try:
            async with session.savepoint():
                for call in part.calls:
                    await self.call(session, call)
                if part.undone:
                    raise ChangedMindError
        except (ChangedMindError, ConflictError, NotFoundError):
            assert not self.world.alone or await self.read(session) == before

    async def read(self, session: Any) -> dict[UUID, dict[str, Any]]:
        records = await session.client.execute_rows("SELECT * FROM stream_projections")
        return {record["stream_id"]: parsed(record) for record in map(dict, records)}

    async def check_saved(self) -> None:
        """Compare with what was read before the end."""
        if not self.world.alone:
            return
        stored = await self.world.stored()
        assert stored.keys() == self.saved.keys()
        for stream_id, saved in self.saved.items():
            for column in saved.keys() - _BESIDE:
                now = stored[stream_id][column]
                assert same(now, saved[column]), f"{column} of {stream_id} was {saved[column]!r}, now {now!r}"


def check_taken(before: list[dict[str, Any]], stored: dict[UUID, dict[str, Any]], by: UUID) -> None:
    """What a conversation took from another while it was caught up, it has at the end, too."""
    for row in before:
        wanted, now = row["wdk_strategy_id"], stored.get(row["stream_id"])
        if row["stream_id"] != by and now is not None and wanted not in (None, now["wdk_strategy_id"]):
            assert stored[by]["wdk_strategy_id"] == wanted, f"{by} took WDK strategy {wanted} and does not have it"


def check_written(stored: dict[UUID, dict[str, Any]], written: Written) -> None:
    """What a call has set is in the table."""
    for stream_id, columns in written.items():
        for column, value in columns.items():
            if value is not ANY:
                found = stored[stream_id][column]
                assert same(found, value), f"{column} of {stream_id} is {found!r}, not {value!r}"
