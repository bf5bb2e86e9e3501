"""The field types that the models share."""

from typing import Any, Final

from orjson import dumps
from tortoise import fields
from tortoise.fields.db_defaults import Now, SqlDefault
from tortoise.models import Model

from veupath_store.documents.json import decode, encode
from veupath_store.models.unlogged import LOGGED, WISH

NOW: Final = Now()
EMPTY_OBJECT: Final = SqlDefault("'{}'::jsonb")
ALL_UNLOGGED: Final = SqlDefault(f"'{dumps(dict.fromkeys(LOGGED, WISH)).decode()}'::jsonb")
EMPTY_ARRAY: Final = SqlDefault("'[]'::jsonb")
NO_COMMENTS: Final = True
"""Keeps Tortoise from looking through a model's source, at each import, for comments ``#:``; here are none."""


class JSONField(fields.JSONField[Any]):
    """A jsonb column with the store's own encoder: what it accepts reads back equal.

    Upstream takes a ``str`` for ready-made JSON text, and with orjson stores NaN as null.
    """

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - passed through
        super().__init__(encoder=encode, decoder=decode, **kwargs)

    def to_db_value(self, value: Any, instance: type[Model] | Model) -> str | None:  # noqa: ANN401
        """The JSON text, or ``None`` for SQL NULL.

        Raises:
            InvalidInputError: The value is no document that would read back equal.
        """
        del instance
        return None if value is None else encode(value, self.model_field_name)
