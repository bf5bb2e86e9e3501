"""The open store in the loop of the test that uses it. Registered where pytest-asyncio is."""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import pytest_asyncio

if TYPE_CHECKING:
    from veupath_store import StoreSettings
    from veupath_store.session.engine import Engine

_Scope: TypeAlias = Literal["session", "package", "module", "class", "function"]
_SCOPES: Final[tuple[_Scope, ...]] = ("session", "package", "module", "class", "function")


def fixture_name(scope: str) -> str:
    """The name of the fixture that opens the store in the loop of a scope."""
    return f"_store_in_{scope}_loop"


def _opening(scope: _Scope) -> Any:  # noqa: ANN401 - a fixture
    @pytest_asyncio.fixture(loop_scope=scope, name=fixture_name(scope))
    async def opened(
        store_settings: "StoreSettings", store_apps: "Mapping[str, Any]", store_connections: "Mapping[str, Any]"
    ) -> "AsyncIterator[Engine]":
        from tortoise.context import TortoiseContext  # noqa: PLC0415 - as the next

        from veupath_store import close_db, init_db  # noqa: PLC0415 - imports Tortoise

        context = TortoiseContext()
        try:
            if store_apps or store_connections:
                config = store_settings.tortoise_orm(apps=store_apps, connections=store_connections)
                with context:
                    await context.init(config=config, _enable_global_fallback=True)
            yield await init_db(settings=store_settings)
        finally:
            await close_db()
            await context.close_connections()

    return opened


in_session_loop, in_package_loop, in_module_loop, in_class_loop, in_function_loop = map(_opening, _SCOPES)
