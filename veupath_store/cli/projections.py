"""``veupath-store projections``: lag, verify, rebuild and work."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, TypeAlias, TypeVar
from uuid import UUID

import typer

from veupath_store.cli.console import (
    EXIT_CODES,
    EXIT_FINDINGS,
    EXIT_INTERRUPTED,
    Json,
    Quiet,
    Yes,
    confirm,
    fail,
    progress_bars,
)
from veupath_store.cli.projections_output import show_lag, show_rebuild, show_verify
from veupath_store.config import StoreSettings
from veupath_store.errors import InvalidInputError
from veupath_store.events.log.log import NO_LOG
from veupath_store.events.project.lag import STUCK_AFTER
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.selection import PARALLEL, Selection
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.inputs import limits
from veupath_store.inputs.validation import seconds
from veupath_store.session import close_db, init_db

R = TypeVar("R")

projections: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Projections: the table's rows, and the event logs behind them."
)

User: TypeAlias = Annotated[UUID | None, typer.Option("--user", help="Only this user's conversations.")]
Site: TypeAlias = Annotated[str | None, typer.Option("--site", help="Only those on this site, as plasmodb.")]
Stream: TypeAlias = Annotated[UUID | None, typer.Option("--stream", help="Only this conversation.")]
Parallel: TypeAlias = Annotated[
    int, typer.Option("--parallel", min=1, max=PARALLEL, help="Conversations at once, each on a connection.")
]


@projections.command("lag", epilog=EXIT_CODES)
def lag_command(
    *,
    user: User = None,
    site: Site = None,
    stream: Stream = None,
    stuck_after: Annotated[
        float, typer.Option(min=0, help="Seconds after which a row that is behind counts as stuck.")
    ] = STUCK_AFTER,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell how far rows are behind their logs, and what logs have lost. Reads only.

    "Ahead" means that the log ends before what the row has seen: Redis lost the log, or its end. The next catch-up
    brings the log up to date from the row, and marks what was lost, for good; a loss is a finding for 7 days.
    "Unlogged" rows hold something that is not in the log yet; "missing" ones are not there, and rebuild makes them.
    Being behind is no finding as long as the row is not stuck: the worker comes by every half second. Logs without a
    row are those of conversations that PostgreSQL does not know: rebuild --missing makes them.

    Findings are rows that are stuck, ahead, missing or unreadable, and what was lost in the last 7 days.

    --json prints {command, ok, counts: {STATE: conversations}, events, seconds, removals, without_row, lagging:
    [{stream_id, state, position, newest, events, seconds, lost, reason}]}; events are those that are not folded in yet,
    seconds the age of the oldest.
    """
    with _usage_errors():
        seconds(stuck_after, "--stuck-after", limits.LEASE_SECONDS)
    chosen = {"stream_id": stream, "user_id": user, "site_id": site}
    bar = not (as_json or quiet)
    report = _run("Comparing positions", Projector.lag, chosen, bar=bar, stuck_after=stuck_after)
    _end(show_lag(report, as_json=as_json, quiet=quiet))


@projections.command("verify", epilog=EXIT_CODES)
def verify_command(
    *,
    user: User = None,
    site: Site = None,
    stream: Stream = None,
    parallel: Parallel = 4,
    values: Annotated[
        bool, typer.Option("--values", help="Show also what names and plans hold, which is research content.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare rows with what their logs say, field by field, in all that is logged. Reads only.

    Rows that are not equal are findings, and repaired by "rebuild". Of names and plans only the sizes are shown, unless
    --values.

    --json prints {command, ok, counts: {OUTCOME: conversations}, events, suspects: [{stream_id, outcome, events,
    differences: [{column, stored, folded}], problems: [{position, type, reason}]}]}; without --values a difference of
    names or plans is {column, differs: "text of 12 / 15 characters"}, stored / folded.
    """
    chosen = {"stream_id": stream, "user_id": user, "site_id": site}
    report = _run("Verifying", Projector.verify, chosen, bar=not (as_json or quiet), parallel=parallel)
    _end(show_verify(report, values=values, as_json=as_json, quiet=quiet))


@projections.command("rebuild", epilog=EXIT_CODES)
def rebuild_command(
    *,
    user: User = None,
    site: Site = None,
    stream: Stream = None,
    parallel: Parallel = 4,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Fold also logs that would be refused. What such a log has lost is then LOST IN THE ROW AS WELL: "
            "its name, its plan, its links, whatever only the lost entries said. Asks first.",
        ),
    ] = False,
    missing: Annotated[
        bool,
        typer.Option(
            "--missing",
            help="First make the conversations anew that have a log and are not in PostgreSQL, as after a restore, "
            "for the owners that the logs name.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make rows anew from their whole logs, while the application runs. All conversations by default.

    What a row holds and its log does not yet stays, and is logged. A row whose log has lost what the row has seen
    ("behind"), or has no beginning ("incomplete"), is refused: it stays as it is, and is a finding. May be interrupted
    and repeated.

    --json prints {command, ok, counts: {OUTCOME: conversations}, events, refused: [{stream_id, outcome, events,
    problems}], problems: {STREAM_ID: [{position, type, reason}]}}; problems are entries that were skipped.
    """
    if force:
        lost = (
            "Where a log has lost entries, the row will hold only what the log still says; the rest is lost for good."
        )
        confirm(f"{lost}\nRebuild those rows, too?", yes=yes)
    chosen = {"stream_id": stream, "user_id": user, "site_id": site}
    bar = not (as_json or quiet)
    report = _run("Rebuilding", Projector.rebuild, chosen, bar=bar, parallel=parallel, missing=missing, force=force)
    _end(show_rebuild(report, as_json=as_json, quiet=quiet))


@projections.command("work", epilog=EXIT_CODES)
def work_command(
    *,
    poll: Annotated[float, typer.Option(min=0, help="Seconds between two looks for what was appended.")] = 0.5,
    sweep_every: Annotated[float, typer.Option(min=0, help="Seconds between two comparisons of all rows.")] = 300.0,
    concurrency: Annotated[int, typer.Option(min=1, max=PARALLEL, help="Catch-ups at once.")] = 4,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
) -> None:
    """Keep rows and logs at the same place, in the foreground, until SIGTERM or SIGINT.

    Any number of these may run. What is under way comes to its end first; a second signal ends the process at once.
    While a server does not answer, it goes on asking. Logs to standard error.
    """
    with _usage_errors():
        seconds(poll, "--poll", limits.LEASE_SECONDS)
        seconds(sweep_every, "--sweep-every", limits.LEASE_SECONDS)
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )

    async def work(_projector: Projector) -> None:
        worker = ProjectionWorker(poll_seconds=poll, sweep_every=sweep_every, concurrency=concurrency)
        _stop_at_signals(worker)
        logging.getLogger("veupath_store.events").info("the projection worker has begun")
        await worker.run()

    # One connection for the sweep, and one to spare.
    asyncio.run(_opened(work, concurrency + 1))


def _stop_at_signals(worker: ProjectionWorker) -> None:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def stop() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        worker.stop()

    for number in signals:
        loop.add_signal_handler(number, stop)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Options that are refused are a wrong command line."""
    try:
        yield
    except InvalidInputError as exc:
        raise typer.BadParameter(str(exc)) from exc


def _run(title: str, work: Callable[..., Awaitable[R]], chosen: Mapping[str, Any], *, bar: bool, **options: float) -> R:
    """Do the projector's work on the chosen conversations with a progress bar; an interruption ends it with 130."""
    with _usage_errors():
        selection = Selection(**chosen)
    done = 0

    async def run(projector: Projector) -> R:
        total = await selection.count()
        with progress_bars(shown=bar) as show:
            show(title, 0, total)

            def progress(count: int) -> None:
                nonlocal done
                done += count
                show(title, done, total)

            return await work(projector, **chosen, **options, progress=progress)

    try:
        return asyncio.run(_opened(run, int(options.get("parallel", 1))))
    except KeyboardInterrupt:
        fail(f"Interrupted after {done} conversation(s).", EXIT_INTERRUPTED)


async def _opened(work: Callable[[Projector], Awaitable[R]], connections: int) -> R:
    """Open the store, see that both servers answer, do the work, and close the store."""
    settings = StoreSettings()
    if settings.log_target is None:
        fail(NO_LOG)
    room = max(settings.pool_max_size, connections + 1)
    # Those that only read write nothing in the background either; the others catch up by themselves.
    await init_db(settings=settings.model_copy(update={"pool_max_size": room, "catch_up": False}))
    try:
        projector = Projector()
        await projector.log.ping()
        return await work(projector)
    finally:
        await close_db()


def _end(ok: bool) -> None:
    if not ok:
        raise typer.Exit(EXIT_FINDINGS)
