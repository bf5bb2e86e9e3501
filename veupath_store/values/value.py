"""The base of values that the package hands out."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value.

    Two fields mean the same in every one, and are described here only. ``user_id``: its owner. ``site_id``: its site.

    Its validator is made with the first one: all of them together would take an eighth of a second of each import.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, defer_build=True)
