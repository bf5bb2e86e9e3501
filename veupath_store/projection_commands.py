"""``veupath-store projections``: lag, verify, rebuild and work."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, NoReturn, TypeAlias, TypeVar
from uuid import UUID

import typer

from veupath_store import limits
from veupath_store.config import StoreSettings
from veupath_store.errors import InvalidInputError
from veupath_store.events.current import NO_LOG
from veupath_store.events.lag import STUCK_AFTER
from veupath_store.events.projector import Projector
from veupath_store.events.selection import PARALLEL, Progress, Selection
from veupath_store.events.worker import ProjectionWorker
from veupath_store.projection_output import progress_bar, show_lag, show_rebuild, show_verify
from veupath_store.session import close_db, init_db
from veupath_store.validation import seconds
from veupath_store.values import LagReport, RebuildReport, VerifyReport

R = TypeVar("R")

EXIT_FINDINGS: Final = 3
"""The command did its work, and found what somebody should look at."""

EXIT_CODES: Final = (
    "Exit codes: 0 all is well; 1 the command could not do its work, and says why on standard error; 2 the command "
    "line is wrong; 3 there are findings (lag: stuck or ahead; verify: a row that is not proven; rebuild: a refusal); "
    "130 interrupted, and what was rebuilt stays."
)

projections = typer.Typer(no_args_is_help=True, help="Projections: the table's rows, and the event logs behind them.")

User: TypeAlias = Annotated[UUID | None, typer.Option("--user", help="Only this user's conversations.")]
Site: TypeAlias = Annotated[str | None, typer.Option("--site", help="Only those on this site, as plasmodb.")]
Stream: TypeAlias = Annotated[UUID | None, typer.Option("--stream", help="Only this conversation.")]
Parallel: TypeAlias = Annotated[
    int, typer.Option("--parallel", min=1, max=PARALLEL, help="Conversations at once, each on a connection.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress bar; print nothing when all is well.")
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
    """Tell how far rows are behind their logs. Reads only.

    "Ahead" means that the log ends before what the row has seen: Redis lost the log, or its end. Being behind is no
    finding as long as the row is not stuck: the worker comes by every half second.

    --json prints {command, ok, counts: {STATE: conversations}, events, seconds, removals, lagging: [{stream_id, state,
    position, newest, events, seconds}]}; events are those that are not folded in yet, seconds the age of the oldest.
    """
    selection = _selection(stream, user, site)
    _check_seconds(stuck_after, "--stuck-after")

    async def lag(projector: Projector, progress: Progress) -> LagReport:
        return await projector.lag(
            stream_id=stream, user_id=user, site_id=site, stuck_after=stuck_after, progress=progress
        )

    report = _run(selection, lag, "Comparing positions", bar=not (as_json or quiet))
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
    """Compare rows with what their logs say, field by field. Reads only.

    Rows that are not equal are repaired by "rebuild". Of names and plans only the sizes are shown, unless --values.

    --json prints {command, ok, counts: {OUTCOME: conversations}, events, suspects: [{stream_id, outcome, events,
    differences: [{column, stored, folded}], problems: [{position, type, reason}]}]}; without --values a difference of
    names or plans is {column, differs: "text of 12 / 15 characters"}, stored / folded.
    """
    selection = _selection(stream, user, site)

    async def verify(projector: Projector, progress: Progress) -> VerifyReport:
        return await projector.verify(
            stream_id=stream, user_id=user, site_id=site, parallel=parallel, progress=progress
        )

    report = _run(selection, verify, "Verifying", bar=not (as_json or quiet), parallel=parallel)
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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; --force needs it without a terminal.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make rows anew from their whole logs, while the application runs. All conversations by default.

    A row whose log has lost what the row has seen ("behind"), or has no beginning ("incomplete"), is refused: it stays
    as it is. May be interrupted and repeated.

    --json prints {command, ok, counts: {OUTCOME: conversations}, events, refused: [{stream_id, outcome, events,
    problems}], problems: {STREAM_ID: [{position, type, reason}]}}; problems are entries that were skipped.
    """
    selection = _selection(stream, user, site)
    if force and not yes:
        _confirm()

    async def rebuild(projector: Projector, progress: Progress) -> RebuildReport:
        return await projector.rebuild(
            stream_id=stream, user_id=user, site_id=site, force=force, parallel=parallel, progress=progress
        )

    report = _run(selection, rebuild, "Rebuilding", bar=not (as_json or quiet), parallel=parallel)
    _end(show_rebuild(report, as_json=as_json, quiet=quiet))


@projections.command(
    "work",
    epilog="Exit codes: 0 it was told to stop; 1 it could not begin, and says why on standard error; "
    "2 the command line is wrong.",
)
def work_command(
    *,
    poll: Annotated[float, typer.Option(min=0, help="Seconds between two looks for what was appended.")] = 0.5,
    sweep_every: Annotated[float, typer.Option(min=0, help="Seconds between two comparisons of all rows.")] = 300.0,
    concurrency: Annotated[int, typer.Option(min=1, max=PARALLEL, help="Catch-ups at once.")] = 4,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
) -> None:
    """Keep rows caught up with their logs, in the foreground, until SIGTERM or SIGINT.

    Any number of these may run. What is under way comes to its end first; a second signal ends the process at once.
    While a server does not answer, it goes on asking. Logs to standard error.
    """
    _check_seconds(poll, "--poll")
    _check_seconds(sweep_every, "--sweep-every")
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


def _checked(make: Callable[[], R]) -> R:
    """What is made of options; those that it refuses are a wrong command line."""
    try:
        return make()
    except InvalidInputError as exc:
        raise typer.BadParameter(str(exc)) from exc


def _check_seconds(value: float, option: str) -> None:
    _checked(lambda: seconds(value, option, limits.LEASE_SECONDS))


def _selection(stream: UUID | None, user: UUID | None, site: str | None) -> Selection:
    return _checked(lambda: Selection(stream, user, site))


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("--force needs --yes where nobody can be asked.")
    typer.confirm(
        "Where a log has lost entries, the row will hold only what the log still says; the rest is lost for good.\n"
        "Rebuild those rows, too?",
        abort=True,
        err=True,
    )


def _run(
    selection: Selection,
    work: Callable[[Projector, Progress], Awaitable[R]],
    title: str,
    *,
    bar: bool,
    parallel: int = 1,
) -> R:
    """Do the work with a progress bar; an interruption ends it with 130."""
    done = 0

    async def run(projector: Projector) -> R:
        with progress_bar(title, await selection.count(), shown=bar) as advance:

            def progress(count: int) -> None:
                nonlocal done
                done += count
                advance(count)

            return await work(projector, progress)

    try:
        return asyncio.run(_opened(run, parallel))
    except KeyboardInterrupt:
        typer.echo(f"Interrupted after {done} conversation(s).", err=True)
        raise typer.Exit(130) from None


async def _opened(work: Callable[[Projector], Awaitable[R]], connections: int) -> R:
    """Open the store, see that both servers answer, do the work, and close the store."""
    settings = StoreSettings()
    if settings.log_target is None:
        _fail(NO_LOG)
    room = max(settings.pool_max_size, connections + 1)
    await init_db(settings=settings.model_copy(update={"pool_max_size": room}))
    try:
        projector = Projector()
        await projector.log.ping()
        return await work(projector)
    finally:
        await close_db()


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _end(well: bool) -> None:
    if not well:
        raise typer.Exit(EXIT_FINDINGS)
