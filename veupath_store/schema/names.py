"""By which names Tortoise knows the store."""

from typing import Final

APP: Final = "store"
CONNECTION: Final = "default"
