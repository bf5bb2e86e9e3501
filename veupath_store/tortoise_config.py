"""The configurations that `register_tortoise` and aerich read, by their names.

``TORTOISE_ORM`` is for `register_tortoise`: the application's pool, and its timeouts. ``AERICH_ORM`` is for aerich: one
direct connection, which holds the advisory lock, no limit for a statement, and a short wait for a table's lock, behind
which the application's queries wait too. Each is made from the environment (see `veupath_store.config.StoreSettings`)
when it is asked for; nothing is connected by that.
"""

import sys
from types import TracebackType
from typing import Any

from veupath_store.config import StoreSettings
from veupath_store.errors import StoreError
from veupath_store.schema.lock import locked_orm


def __getattr__(name: str) -> dict[str, Any]:
    if name == "TORTOISE_ORM":
        return StoreSettings().tortoise_orm()
    if name == "AERICH_ORM":
        return locked_orm(StoreSettings().for_migrations())
    raise AttributeError(name)


def _print_sentence(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if isinstance(error, StoreError):
        sys.stderr.write(f"{error}\n")
    else:
        sys.__excepthook__(kind, error, traceback)


# The command line `aerich` prints a traceback for every error. An application that imports this is left alone.
if "aerich.cli" in sys.modules:
    sys.excepthook = _print_sentence
