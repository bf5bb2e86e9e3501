"""The persistence layer of PathFinder: Tortoise ORM, asyncpg and aerich on PostgreSQL.

In short:

    await init_db()
    async with async_session_factory() as session:
        user = await UserRepository(session).get_or_create(user_id)
        stream = await StreamRepository(session).for_user(user.id).create(user.id, "plasmodb", name="Kinases")
    await close_db()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veupath_store.public import *  # noqa: F403

__version__ = "0.2.0"


# Imported when one is asked for: pytest imports this package in every run in whose environment it is installed, for its
# plugin, the command line at each start, and Tortoise alone takes a third of a second.
def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever it names
    if name == "__all__" or not name.startswith("_"):  # others ask all modules for names of Python's
        return getattr(import_module("veupath_store.public"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(import_module("veupath_store.public").__all__)
