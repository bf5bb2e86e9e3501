"""Recording the SQL that is sent."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from veupath_store.engine.statements import Statements
from veupath_store.integrations.testing import recorded

__all__ = ["recorded", "recorded_with_values"]


@contextmanager
def recorded_with_values() -> Iterator[list[tuple[str, list[Any]]]]:
    """The statements sent inside the block with their values, in order, to be explained afterwards."""
    sent: list[tuple[str, list[Any]]] = []
    run = Statements._run

    async def recording(self: Statements, query: str, values: Sequence[Any], call: Any) -> Any:
        sent.append((query, list(values)))
        return await run(self, query, values, call)

    Statements._run = recording  # type: ignore[method-assign]
    try:
        yield sent
    finally:
        Statements._run = run  # type: ignore[method-assign]
