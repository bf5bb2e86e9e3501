"""The base of values that callers make: checked at once, with the store's own error."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from veupath_store.inputs.validation import first_mistake


class Checked(BaseModel):
    """Frozen values that are checked when they are made.

    Raises:
        InvalidInputError: A field is unknown or its value is refused.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 - pydantic's own signature
        try:
            super().__init__(**fields)
        except ValidationError as exc:
            raise first_mistake(exc) from None
