"""`TORTOISE_ORM`: the configuration that aerich and `register_tortoise` read.

It is made from the environment (see `veupath_store.config.StoreSettings`); nothing is connected by importing it.
"""

from veupath_store.config import StoreSettings

TORTOISE_ORM = StoreSettings().tortoise_orm()
