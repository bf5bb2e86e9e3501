"""The configurations that `register_tortoise` and aerich read: see `veupath_store.tortoise_config`."""

from veupath_store.tortoise_config import AERICH_ORM, TORTOISE_ORM

__all__ = ["AERICH_ORM", "TORTOISE_ORM"]
