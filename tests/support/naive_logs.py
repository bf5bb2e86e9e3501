"""Event logs as lists in plain Python: each call is made of both, and what they answer is compared."""

import random
from itertools import count
from uuid import UUID, uuid4

import pytest

from veupath_store.errors import NotFoundError
from veupath_store.events.fold.fold import PROJECTING
from veupath_store.events.log.entries import FIRST, LAST, Entry, Event, LogKey, LogKind, Position
from veupath_store.events.log.log import EventLog, LogEnds, Step, Stepped

KINDS = ("assistant_delta", "assistant_delta", "user_message", "projection_patched", "of_tomorrow")
KEYS = [str(UUID(int=number)) for number in range(4)]
BEFORE_LAST = Position(2**63, 9)
"""Calls that go through a script, or of several logs, are not made for what follows the last position there can be."""
BOUNDS = (None, Position(1, 0), Position(2**63, 7), Position(2**63, LAST.seq))


class NaiveLogs:
    """Few logs, few keys of events, and at random all that can be done with them."""

    def __init__(self, log: EventLog, seed: int) -> None:
        self.log, self.dice, self.numbers = log, random.Random(seed), count()
        self.names = [LogKey.stream(uuid4()), LogKey.stream(uuid4()), LogKey.operation(uuid4())]
        self.entries: dict[LogKey, list[Entry]] = {}
        self.last: dict[LogKey, Position] = {}
        self.known: dict[tuple[LogKey, str], Position] = {}
        self.marks: dict[UUID, int] = {}
        self.seen: list[tuple[UUID, float, int]] = []
        self.calls = (self.append, self.append, self.append, self.step, self.step, self.step, self.read, self.count)
        self.calls += (self.trim, self.discard, self.remove, self.mark, self.caught_up)

    async def do(self) -> None:
        """Something, after which all is compared."""
        await self.dice.choice(self.calls)()
        ends = [self.ends(name) if name in self.last else None for name in self.names]
        assert await self.log.ends(self.names) == ends
        held = await self.log.read_each([(name, None, 1_000) for name in self.names])
        assert held == [self.entries.get(name, []) for name in self.names]
        assert [stream for stream, _ in await self.log.behind(9)] == list(self.marks)
        assert (await self.log.backlog()).count == len(self.marks)

    def ends(self, name: LogKey) -> LogEnds:
        held = [entry.position for entry in self.entries[name]] or [None]
        return LogEnds(held[0], held[-1], self.last[name])

    def name(self) -> LogKey:
        return self.dice.choice(self.names)

    def position(self, name: LogKey) -> Position:
        """One that the log has, or one beside it."""
        held = [entry.position for entry in self.entries.get(name, [])]
        return self.dice.choice([*held, *held, *(one.after for one in held), FIRST, LAST])

    def after(self, name: LogKey, position: Position | None) -> list[Entry]:
        return [entry for entry in self.entries.get(name, []) if position is None or entry.position > position]

    def fields(self) -> tuple[str, str, bytes, str]:
        key = self.dice.choice(["", "", *KEYS])
        return "", self.dice.choice(KINDS), b'{"n":%d}' % next(self.numbers), key

    def take(self, name: LogKey, fields: tuple[str, str, bytes, str], at: Position, *, shows_key: bool) -> None:
        """An entry of a position that the log gave it: greater than all before, unless the log has had its key."""
        operation, kind, raw, key = fields
        known = self.known.get((name, key))
        if known and (not shows_key or known in {entry.position for entry in self.entries.get(name, [])}):
            assert at == known
            return
        assert name not in self.last or at > self.last[name]
        entry = Entry(at, kind, raw, operation, key if shows_key else "")
        self.entries.setdefault(name, []).append(entry)
        self.last[name] = at
        if key:
            self.known[name, key] = at

    async def append(self) -> None:
        name, new = self.name(), self.dice.random() < 0.3
        made = [self.fields() for _ in range(self.dice.randint(1, 3))]
        events = [Event(type=kind, data={"n": int(raw[5:-1])}, key=key or None) for _, kind, raw, key in made]
        if name not in self.last and not new:
            with pytest.raises(NotFoundError):
                await self.log.append(name, events)
            return
        for fields, at in zip(made, await self.log.append(name, events, new=new), strict=True):
            self.take(name, fields, at, shows_key=False)
        if name.kind is LogKind.STREAM and any(kind in PROJECTING for _, kind, _, _ in made):
            self.marks[name.id] = next(self.numbers)

    async def step(self) -> None:
        """One step of each log, in one request."""
        steps = [self.a_step(name) for name in self.names]
        for step, found in zip(steps, await self.log.step(steps), strict=True):
            there, after, held = step.key in self.last, step.after, self.entries.get(step.key, [])
            holds = after in (None, FIRST) or after in [entry.position for entry in held]
            rest = self.after(step.key, after)
            at_end = not there or after == LAST or len(rest) < step.count
            page = [] if step.mode == "replace" else rest[: step.count]
            hinders = any(entry.type in PROJECTING or entry.key for entry in page)
            appends = {
                "end": there and after is not None and holds and at_end and not hinders,
                "new": not there,
                "replace": there and self.last.get(step.key) == step.bound,
            }[step.mode]
            assert found == Stepped(there, holds, at_end, page, found.positions)
            assert len(found.positions) == (len(step.appended) if appends else 0)
            if appends and step.mode == "replace":
                del self.entries[step.key], self.last[step.key]
            for fields, at in zip(step.appended if appends else (), found.positions, strict=True):
                self.take(step.key, fields, at, shows_key=True)
            if appends and step.mode == "new" and step.bound:
                first = found.positions[0]
                assert first == step.bound if step.bound.ms > 1 else first > step.bound

    def a_step(self, name: LogKey) -> Step:
        mode = self.dice.choice(["end", "end", "new", "replace"])
        bound = self.dice.choice(BOUNDS) if mode == "new" else None
        if mode == "replace":
            bound = self.dice.choice([self.last.get(name), self.position(name)]) or FIRST
        after = self.dice.choice([None, self.position(name)])
        made = [self.fields() for _ in range(self.dice.randint(1, 2))]
        return Step(name, after, self.dice.randint(1, 5), mode, made, bound)

    async def read(self) -> None:
        name, size = self.name(), self.dice.randint(0, 5)
        at = self.position(name)
        assert await self.log.read(name, after=at, count=size) == self.after(name, at)[:size]
        before = [entry for entry in self.entries.get(name, []) if entry.position < at]
        assert await self.log.read_newest(name, size, before=at) == before[::-1][:size]
        assert await self.log.read_newest(name, size) == self.entries.get(name, [])[::-1][:size]
        places = [(name, one, 3) for one in (min(at, BEFORE_LAST), None)]
        assert await self.log.read_each(places) == [self.after(*place[:2])[:3] for place in places]

    async def count(self) -> None:
        name = self.name()
        for after in (None, min(self.position(name), BEFORE_LAST)):
            rest = [entry.position for entry in self.after(name, after)]
            assert await self.log.count_after(name, after, 4) == (len(rest[:4]), (rest or [None])[0])

    async def trim(self) -> None:
        name = self.name()
        before, beside = self.position(name), self.position(name)
        held = self.entries.get(name, [])
        kept = [entry for entry in held if entry.position >= before]
        if beside not in [entry.position for entry in held]:
            kept = held
        assert await self.log.trim(name, before, beside=beside) == len(held) - len(kept)
        if name in self.entries:
            self.entries[name] = kept

    async def discard(self) -> None:
        name = self.name()
        gone = [self.position(name) for _ in range(2)]
        await self.log.discard(name, gone)
        if name in self.entries:
            self.entries[name] = [entry for entry in self.entries[name] if entry.position not in gone]

    async def remove(self) -> None:
        gone = [name for name in self.names if self.dice.random() < 0.3]
        await self.log.remove(gone)
        for name in gone:
            self.entries.pop(name, None)
            self.last.pop(name, None)
            self.marks.pop(name.id, None)

    async def mark(self) -> None:
        """What is behind is looked at."""
        limit = self.dice.randint(0, 2)
        behind = await self.log.behind(limit)
        assert [stream for stream, _ in behind] == list(self.marks)[:limit]
        self.seen = [(stream, score, self.marks[stream]) for stream, score in behind]

    async def caught_up(self) -> None:
        await self.log.caught_up([(stream, score) for stream, score, _ in self.seen])
        for stream, _, mark in self.seen:
            if self.marks.get(stream) == mark:
                del self.marks[stream]
