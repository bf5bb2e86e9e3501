"""One task that renews all leases of this process and hears of cancels: one statement a second for all its jobs."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

from veupath_store.engine import start_detached
from veupath_store.engine.changes import of_operation
from veupath_store.errors import StoreError
from veupath_store.repositories import LeaseRepository
from veupath_store.repositories.leases import heartbeat_many
from veupath_store.session import on_change

if TYPE_CHECKING:
    from veupath_store.jobs.run import Run

logger: logging.Logger = logging.getLogger("veupath_store.jobs")

LOOK_SECONDS: Final = 0.9
"""Seconds between two looks at the operations that run here: another process's cancel arrives within a second."""

RETRY_SECONDS: Final = 0.2
"""Seconds between two tries when the database does not answer."""

_ENOUGH: Final = 1.0
"""Seconds in which a statement is answered unless something is wrong."""

_of: Final[dict[asyncio.AbstractEventLoop, "_Heartbeats"]] = {}


@contextmanager
def heartbeats(run: "Run") -> Iterator[None]:
    """While the block lasts, and until its lease is lost, a job's lease is renewed and the job hears of it."""
    loop = asyncio.get_running_loop()
    shared = _of.get(loop)
    if shared is None:
        shared = _of[loop] = _Heartbeats()
    elif run.every < LOOK_SECONDS:
        shared.look()  # or else it waits for longer than it may
    forget = on_change(of_operation(run.lease.operation_id), shared.look)
    shared.runs[run.lease.token] = run
    try:
        yield
    finally:
        forget()
        shared.runs.pop(run.lease.token, None)
        if not shared.runs:
            shared.task.cancel()
            if _of.get(loop) is shared:  # not of a job that began after this one had lost its lease
                del _of[loop]


class _Heartbeats:
    """The heartbeats of all jobs of an event loop."""

    def __init__(self) -> None:
        self.runs: dict[UUID, Run] = {}
        self._sooner = asyncio.Event()
        self.task = start_detached(self._beat_until_idle(), name="heartbeats")

    def look(self) -> None:
        """Look at once: something has happened to one of the operations."""
        self._sooner.set()

    async def _beat_until_idle(self) -> None:
        answered = True
        while True:
            pause = min([LOOK_SECONDS if answered else RETRY_SECONDS, *(run.every for run in self.runs.values())])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._sooner.wait()
            self._sooner.clear()
            answered = not self.runs or await self._beat(pause)

    async def _beat(self, pause: float) -> bool:
        """One statement for all; whether it was answered."""
        runs = list(self.runs.values())
        due = {run.lease.operation_id for run in runs if _is_due(run, pause)}
        try:
            async with asyncio.timeout(_bound(min(run.patience() for run in runs))):
                beats = await heartbeat_many([run.lease for run in runs], renew=due)
                lost = [run for run in runs if run.lease.operation_id not in beats]
                ended = [await LeaseRepository().get_outcome(run.lease) is not None for run in lost]
        except (StoreError, TimeoutError) as exc:  # whatever it is, each job stops by itself before its lease expires
            logger.warning("a heartbeat of %d operations failed: %s: %s", len(runs), type(exc).__name__, exc)
            return False
        except Exception:
            logger.exception("a heartbeat of %d operations failed", len(runs))
            return False
        for run in runs:
            if run.lease.operation_id in beats:
                run.hear(beats[run.lease.operation_id])
        for run, has_ended in zip(lost, ended, strict=True):
            self.runs.pop(run.lease.token, None)
            run.lose(ended=has_ended)
        return True


def _bound(patience: float) -> float:
    """Seconds for one statement: half of what is left, so that a connection that hangs leaves time for another."""
    return max(patience / 2, min(patience, _ENOUGH))


def _is_due(run: "Run", pause: float) -> bool:
    """Whether a lease is to be renewed now; the next look comes after `pause`."""
    return run.deadline - time.monotonic() <= run.lease.seconds - run.every + pause / 2
