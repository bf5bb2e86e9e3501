"""`StoreConnection`: an asyncpg connection that knows whether it must be reset."""

from typing import Any

import asyncpg

from veupath_store.engine.session_state import leaves_nothing


class StoreConnection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A connection that is reset when it is given back only if a statement may have left something in its session.

    It looks at every statement itself, whoever sends it and however: also what an application sends past the store.
    """

    __slots__ = ("_stirred",)

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._stirred = False

    @property
    def is_clean(self) -> bool:
        """Whether it could be lent to somebody else as it is."""
        return not (
            self._stirred
            or self.is_closed()
            or self._protocol.is_in_transaction()
            or self._protocol._is_cancelling()
            or self._top_xact is not None
            or self._listeners
            or self._log_listeners
        )

    def get_reset_query(self) -> str:
        """What resets the session; nothing where there is nothing to reset."""
        return str(super().get_reset_query()) if self._stirred else ""

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """As asyncpg's, which closes the connection if this fails."""
        if not self.is_clean:
            await super().reset(timeout=timeout)
            self._stirred = False

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """As asyncpg's."""
        self._look_at(query)
        return await super().execute(query, *args, **options)

    async def _execute(self, query: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        self._look_at(query)
        return await super()._execute(query, *args, **options)

    async def _executemany(self, query: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        self._look_at(query)
        return await super()._executemany(query, *args, **options)

    async def _prepare(self, query: str, **options: Any) -> Any:  # noqa: ANN401
        self._look_at(query)
        return await super()._prepare(query, **options)

    def _look_at(self, query: str) -> None:
        if not leaves_nothing(query):
            self._stirred = True
