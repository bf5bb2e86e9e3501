"""Letting go of what a response was made of, also when the client goes away."""

from collections.abc import AsyncIterator
from typing import Any, Final

import anyio

PATIENCE: Final = 5.0
"""Seconds for an iterator to finish when it is closed early."""


async def close_iterator(iterator: AsyncIterator[Any]) -> None:
    """Close an asynchronous generator now, not when it is collected; also while the response is being cancelled.

    Args:
        iterator: Any asynchronous iterator; one without ``aclose`` needs nothing.
    """
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        with anyio.move_on_after(PATIENCE, shield=True):
            await aclose()
