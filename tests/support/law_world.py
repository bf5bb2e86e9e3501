"""The steps of the law's machine, done on real servers."""

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg

from tests.support.law_calls import ANY, CALLS, USERS, Things, Written
from tests.support.law_checks import Eyes, check_forward, check_rows, check_unique, position, same
from tests.support.law_deaths import DeadError, dying
from tests.support.law_steps import Call, Nested, Told
from veupath_store.errors import ConflictError, NotFoundError, StoreError
from veupath_store.events.entries import Event
from veupath_store.events.projector import Projector
from veupath_store.events.worker import ProjectionWorker
from veupath_store.repositories import StreamRepository, UserRepository
from veupath_store.session import async_session_factory

_TIMES = {"updated_at", "dismissed_at", "wdk_event_id", "last_event_id", "born", "gene_sets"}
"""What the log decides: in the open unit of work it is not known yet."""


class ChangedMindError(Exception):
    """What a unit of work raises at its end, or a savepoint at its own."""


class LawWorld:
    """Does steps, and checks after each."""

    def __init__(self, eyes: Eyes) -> None:
        self.eyes = eyes
        self.things = Things()
        self.rows: list[dict[str, Any]] = []
        self.alone = True
        """Whether one step is done at a time, so that what it leaves is known."""

    async def begin(self) -> None:
        for user in USERS:
            await UserRepository().get_or_create(user)
        for name in ("A", "A (1)", ""):
            await StreamRepository().create(USERS[0], "plasmodb", name=name)

    async def check(self) -> None:
        """The invariants; and what there is to choose from now."""
        rows = await self.eyes.rows()
        await check_rows(self.eyes, rows)
        check_unique(rows)
        check_forward(self.rows, rows)
        self.rows = rows
        self.things.streams = [row["stream_id"] for row in rows]
        self.things.gene_sets = [
            row["id"] for row in await self.eyes.fetch("SELECT id FROM gene_sets ORDER BY created_at, id")
        ]

    async def call(self, call: Call, death: str = "") -> None:
        """A call without a session: what it acknowledges is readable."""
        calm = self.is_calm()
        try:
            with dying(death, self.kill):
                written = await CALLS[call.kind](self.things, None, **call.given)
        except (StoreError, DeadError) as exc:
            self.refuse_unexpected(exc, death)
            return
        if self.alone:
            check_written(await self.stored(), written, links=calm)

    async def unit(self, parts: tuple[Any, ...], ending: str) -> None:
        """A unit of work. What is read in it before its end is what is there after it, if nobody came in between."""
        unit = Unit(self)
        try:
            with dying(ending, self.kill):
                async with async_session_factory() as session:
                    await unit.run(session, parts)
                    if ending == "raise":
                        raise ChangedMindError
        except (StoreError, ChangedMindError, DeadError) as exc:
            self.refuse_unexpected(exc, ending)
            return
        await unit.check_saved()

    async def tell(self, told: Told, *, gone: bool = True) -> None:
        """Events of other processes, whose conversation may be `gone` meanwhile."""
        stream_id = self.things.stream(told.stream)
        events = [event for event in told.events if isinstance(event, Event)]
        for kind, raw in (event for event in told.events if not isinstance(event, Event)):
            fields = {"op": "", "type": kind, "data": raw}
            self.eyes.redis.xadd(self.eyes.key(stream_id), fields, nomkstream=True)
        try:
            await Projector().append(stream_id, events)
        except NotFoundError:
            assert gone or stream_id not in self.things.streams

    async def catch_up(self, stream: int, workers: int, death: str) -> None:
        stream_id = self.things.stream(stream)
        with dying(death, self.kill):
            many = [Projector().catch_up(stream_id) for _ in range(workers)]
            done = await asyncio.gather(*many, return_exceptions=True)
        self.refuse_unexpected_of(done, death)

    async def work(self, what: str, death: str) -> None:
        worker = ProjectionWorker()
        work = {"drain": worker.drain, "sweep": worker.sweep, "verify": self.verify}[what]
        try:
            with dying(death, self.kill):
                await work()
        except (StoreError, DeadError) as exc:
            self.refuse_unexpected(exc, death)

    async def rebuild(self, stream: int, meanwhile: tuple[Told, ...], death: str) -> None:
        stream_id = self.things.stream(stream)
        with dying(death, self.kill):
            told = (self.tell(one) for one in meanwhile)
            done = await asyncio.gather(Projector().rebuild(stream_id=stream_id), *told, return_exceptions=True)
        self.refuse_unexpected_of(done, death)
        if not isinstance(done[0], BaseException):
            assert not done[0].refused, done[0]

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
        assert not report.suspects, report

    async def kill(self, pid: int) -> None:
        await self.eyes.fetch("SELECT pg_terminate_backend($1)", pid)

    async def stored(self) -> dict[UUID, dict[str, Any]]:
        return {row["stream_id"]: row for row in await self.eyes.rows()}

    def is_calm(self) -> bool:
        """Whether every row is at the end of its log."""
        ends = [(row, self.eyes.log(row["stream_id"])) for row in self.rows]
        return all(log and log[-1].position == position(row) for row, log in ends)

    def refuse_unexpected_of(self, done: list[Any], death: str) -> None:
        """What catching up and rebuilding may meet: that the conversation is gone, never that something is taken."""
        for exc in done:
            assert not isinstance(exc, ConflictError), exc
            if isinstance(exc, BaseException):
                self.refuse_unexpected(exc, death)

    def refuse_unexpected(self, exc: BaseException, death: str) -> None:
        """What a caller may hear: that it asked for nothing that is there, or is taken; and after a death anything."""
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
        self.calm = world.is_calm()
        self.written: Written = {}
        self.saved: dict[UUID, dict[str, Any]] = {}

    async def run(self, session: Any, parts: tuple[Any, ...]) -> None:
        for part in parts:
            if isinstance(part, Told):
                self.calm = False
                await self.world.tell(part)
            elif isinstance(part, Nested):
                await self.nest(session, part)
            elif part == "commit":
                self.saved = await self.read(session)
                await session.commit()
                await self.check_saved()
                self.written = {}
            elif part == "rollback":
                await session.rollback()
                self.written = {}
            else:
                await self.call(session, part)
        self.saved = await self.read(session)

    async def call(self, session: Any, call: Call) -> None:
        written = await CALLS[call.kind](self.world.things, session, **call.given)
        if self.world.alone:
            check_written(await self.read(session), written)
        for stream_id, columns in written.items():
            self.written[stream_id] = self.written.get(stream_id, {}) | columns

    async def nest(self, session: Any, part: Nested) -> None:
        before, written = await self.read(session), {key: dict(value) for key, value in self.written.items()}
        try:
            async with session.savepoint():
                for call in part.calls:
                    await self.call(session, call)
                if part.undone:
                    raise ChangedMindError
        except (ChangedMindError, ConflictError, NotFoundError):
            self.written = written
            assert not self.world.alone or await self.read(session) == before

    async def read(self, session: Any) -> dict[UUID, dict[str, Any]]:
        records = await session.client.execute_rows("SELECT * FROM stream_projections")
        return {record["stream_id"]: {**record, "plan": json.loads(record["plan"])} for record in map(dict, records)}

    async def check_saved(self) -> None:
        """Compare with what was read before the end."""
        if not self.world.alone:
            return
        stored = await self.world.stored()
        assert stored.keys() == self.saved.keys()
        for stream_id, saved in self.saved.items():
            columns = saved.keys() if self.calm else self.written.get(stream_id, {}).keys() - {*LINKS, "name"}
            for column in columns - _TIMES:
                now = stored[stream_id][column]
                assert same(now, saved[column]), f"{column} of {stream_id} was {saved[column]!r}, now {now!r}"


LINKS = ("wdk_strategy_id", "is_saved")


def check_written(stored: dict[UUID, dict[str, Any]], written: Written, *, links: bool = True) -> None:
    """What a call has set is in the table."""
    for stream_id, columns in written.items():
        for column, value in columns.items():
            if value is not ANY and (links or column not in LINKS):
                found = stored[stream_id][column]
                assert same(found, value), f"{column} of {stream_id} is {found!r}, not {value!r}"
