"""Taking back, again and again, the operations whose workers are lost."""

import asyncio
import contextlib
import logging
from typing import Final

from veupath_store.errors import StoreError
from veupath_store.repositories import LeaseRepository

logger = logging.getLogger("veupath_store.jobs")

SWEEP_EVERY: Final = 10.0
"""Seconds between two sweeps, by default."""


class Sweeper:
    """Sweeps until it is stopped. Any number may run, in any processes: one statement each, without a wait for locks.

    Args:
        every: Seconds between two sweeps.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Sweep until `stop`. While the database does not answer it goes on asking."""
        while not self._stopping.is_set():
            try:
                report = await LeaseRepository().sweep()
                if len(report):
                    logger.warning("%d operations of lost workers were swept up", len(report))
            except StoreError as exc:
                logger.warning("operations cannot be swept up now: %s", exc)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Begin no other sweep."""
        self._stopping.set()
