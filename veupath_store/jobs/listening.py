"""Hearing from other processes that there is new work, on a connection beside the pool."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from veupath_store.engine.announcing import CHANNEL
from veupath_store.engine.translation import DRIVER_ERRORS
from veupath_store.errors import StoreError
from veupath_store.session import get_engine

logger = logging.getLogger("veupath_store.jobs")

AGAIN: Final = 5.0
"""Seconds between two tries to listen."""


async def listen(hear: Callable[[], object]) -> None:
    """Listen until this is cancelled, on a new connection where one is lost. Returns at once behind a PgBouncer.

    Nothing depends on it: where it cannot listen, workers find new work when they look for it.

    Args:
        hear: What to call when there may be new work, also of a time without a listener.
    """
    while not get_engine().settings.pgbouncer:
        try:
            await _listen_once(hear)
        except (StoreError, *DRIVER_ERRORS) as exc:
            logger.debug("new work of other processes is looked for, not listened to: %s", exc)
        await asyncio.sleep(AGAIN)


async def _listen_once(hear: Callable[[], object]) -> None:
    lost = asyncio.Event()

    def heard(*_: Any) -> None:  # noqa: ANN401 - as asyncpg calls it
        hear()

    connection = await (await get_engine().open()).beside_the_pool()
    try:
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(CHANNEL, heard)
        hear()
        await lost.wait()
    finally:
        with contextlib.suppress(*DRIVER_ERRORS):
            connection.terminate()
