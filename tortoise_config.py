"""The configurations that `register_tortoise` and aerich read.

They are made from the environment (see `veupath_store.config.StoreSettings`); nothing is connected by importing them.
"""

from typing import Final

from veupath_store.config import StoreSettings

_SETTINGS: Final = StoreSettings()

TORTOISE_ORM = _SETTINGS.tortoise_orm()
"""For `register_tortoise`: the application's pool, and its timeouts."""

AERICH_ORM = _SETTINGS.for_migrations().tortoise_orm()
"""For aerich, by pyproject.toml: a direct connection, no limit for a statement, and a short wait for a table's lock,
behind which the application's queries wait too."""
