"""``python -m benchmarks.rebuild``: how fast rows are made from their logs, beside the mere reading of these logs.

Everything is measured in one run, on embedded servers of its own, several times; the fastest is told. A ratio to
"read" of 2 means: twice the time that reading the same logs takes without doing anything with them.
"""

import argparse
import asyncio
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from veupath_store import Event, Projector, StoreSettings, StreamRepository, UserRepository, close_db, init_db
from veupath_store.events.fold.fold import INITIAL, State, fold_all
from veupath_store.events.log.entries import LogKey, Position
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.pages import PageSize
from veupath_store.session import async_session_factory, get_engine


@dataclass(frozen=True)
class Measure:
    """One way of going through all logs.

    Attributes:
        what: Which.
        seconds: Its fastest round.
        cpu: Seconds of this process's own work in that round.
        events_per_second: All events by `seconds`.
        ratio: `seconds` by those of the mere reading.
    """

    what: str
    seconds: float
    cpu: float
    events_per_second: float
    ratio: float


def events_of(stream: int, count: int, deltas: float) -> list[Event]:
    """A chat: mostly token deltas, now and then something that changes the projection."""
    every = max(1, round(1 / (1 - deltas))) if deltas < 1 else count + 1
    kinds = [_user_message, _snapshot, _assistant_message, _meta, _model]
    return [
        _delta(number) if (number + 1) % every else kinds[number // every % len(kinds)](stream, number)
        for number in range(count)
    ]


def _delta(number: int) -> Event:
    return Event(type="assistant_delta", data={"messageId": "m1", "content": f" token {number}"})


def _user_message(stream: int, number: int) -> Event:
    return Event(type="user_message", data={"messageId": f"{stream}-{number}", "content": "Find kinases. " * 10})


def _assistant_message(stream: int, number: int) -> Event:
    return Event(type="assistant_message", data={"messageId": f"{stream}-{number}", "content": "I found them. " * 80})


def _meta(stream: int, number: int) -> Event:
    return Event(type="strategy_meta", data={"name": f"Kinases {stream} {number}", "recordType": "transcript"})


def _model(_stream: int, number: int) -> Event:
    return Event(type="model_selected", data={"modelId": f"model-{number}"})


def _snapshot(stream: int, number: int) -> Event:
    searches: list[dict[str, Any]] = [
        {"id": f"s{n}", "kind": "search", "searchName": "GenesByTaxon", "parameters": {"organism": "P. falciparum"}}
        for n in range(4)
    ]
    combined = [
        {
            "id": f"c{n}",
            "kind": "combine",
            "operator": "INTERSECT",
            "primaryInputStepId": f"c{n - 1}" if n > 1 else "s0",
            "secondaryInputStepId": f"s{n}",
        }
        for n in range(1, 4)
    ]
    snapshot = {"steps": searches + combined, "rootStepId": "c3", "graphName": f"Graph {stream} {number}"}
    return Event(type="graph_snapshot", data={"graphSnapshot": {**snapshot, "recordType": "transcript"}})


async def fill(streams: int, events: int, deltas: float) -> list[UUID]:
    """Make conversations and append their events."""
    user = await UserRepository().create()
    async with async_session_factory() as session:
        ids = [(await StreamRepository(session).create(user.id, "plasmodb")).id for _ in range(streams)]
    for number, stream_id in enumerate(ids):
        await Projector().append(stream_id, events_of(number, events, deltas))
    return ids


async def go_through(log: EventLog, ids: Sequence[UUID], *, folding: bool) -> None:
    """Read all logs in the store's pages, one after the other, and perhaps fold them. No database."""
    for stream_id in ids:
        pages, state, after, more = PageSize(), INITIAL, None, True
        while more:
            entries = await log.read(LogKey.stream(stream_id), after=after, count=pages.entries)
            more = pages.seen(entries)
            after = entries[-1].position if entries else after
            if folding:
                state = fold_all(state, entries).state
        if folding:
            _require(state, after)


def _require(state: State, after: Position | None) -> None:
    if state.last_event_id != str(after):
        raise AssertionError("the fold did not reach the end")


async def set_back() -> None:
    """As if no row had seen anything."""
    await (await get_engine().open()).execute_query("UPDATE stream_projections SET last_event_id = NULL", [])


async def catch_up(ids: Sequence[UUID], parallel: int) -> None:
    """Catch all conversations up, several at once."""
    projector, waiting = Projector(), list(ids)

    async def take() -> None:
        while waiting:
            await projector.catch_up(waiting.pop())

    await asyncio.gather(*(take() for _ in range(parallel)))


async def nothing() -> None:
    """What most ways need before they begin."""


async def measure(ids: Sequence[UUID], total: int, rounds: int) -> list[Measure]:
    """Go through all logs in each way, and see that the result is right."""
    projector = Projector()
    ways: list[tuple[str, Callable[[], Awaitable[None]], Callable[[], Awaitable[Any]]]] = [
        ("read", nothing, lambda: go_through(projector.log, ids, folding=False)),
        ("read and fold", nothing, lambda: go_through(projector.log, ids, folding=True)),
        ("catch up from zero, 1 at once", set_back, lambda: catch_up(ids, 1)),
        ("catch up from zero, 4 at once", set_back, lambda: catch_up(ids, 4)),
        ("rebuild, 1 at once", nothing, lambda: projector.rebuild(parallel=1)),
        ("rebuild, 4 at once", nothing, lambda: projector.rebuild(parallel=4)),
        ("verify, 4 at once", nothing, lambda: projector.verify(parallel=4)),
    ]
    # Round by round, so that a busy moment of the machine does not hit one way alone.
    times: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in ways}
    for _ in range(rounds):
        for name, before, run in ways:
            await before()
            started, worked = time.perf_counter(), time.process_time()
            await run()
            times[name].append((time.perf_counter() - started, time.process_time() - worked))
    report = await projector.verify()
    if report.suspects:
        raise AssertionError(f"{len(report.suspects)} rows are not what their logs say")
    base = min(times["read"])[0]
    return [
        Measure(name, round(seconds, 4), round(cpu, 4), round(total / seconds), round(seconds / base, 2))
        for name, (seconds, cpu) in ((name, min(found)) for name, found in times.items())
    ]


async def run(options: argparse.Namespace, directory: Path) -> list[Measure]:
    """Fill, measure, close."""
    settings = StoreSettings(
        database_url=f"embedded:{directory / 'pg'}", redis_url=f"embedded:{directory / 'redis'}", catch_up=False
    )
    await init_db(create_schema=True, settings=settings)
    try:
        ids = await fill(options.streams, options.events, options.deltas)
        return await measure(ids, options.streams * options.events, options.rounds)
    finally:
        await close_db()


def show(options: argparse.Namespace, measures: Sequence[Measure]) -> None:
    """A table for people."""
    table = Table(
        title=f"{options.streams} logs of {options.events} events, {options.deltas:.0%} deltas, "
        f"best of {options.rounds} (Python {platform.python_version()})"
    )
    for heading in ("", "seconds", "own CPU", "events/s", "times read"):
        table.add_column(heading, justify="right" if heading else "left")
    for one in measures:
        table.add_row(
            one.what, f"{one.seconds:.2f}", f"{one.cpu:.2f}", f"{one.events_per_second:,.0f}", f"{one.ratio:.2f}"
        )
    Console().print(table)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuild", description=__doc__)
    parser.add_argument("--streams", type=int, default=200, help="conversations (default: %(default)s)")
    parser.add_argument("--events", type=int, default=500, help="events of each (default: %(default)s)")
    parser.add_argument("--deltas", type=float, default=0.95, help="share of token deltas (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="veupath-store-bench-")).resolve()
    try:
        measures = asyncio.run(run(options, directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        sys.stdout.write(json.dumps([asdict(one) for one in measures]) + "\n")
    else:
        show(options, measures)


if __name__ == "__main__":
    main()
