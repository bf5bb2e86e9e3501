"""The bases of values: of those that the package hands out, and of those that callers make."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from veupath_store.inputs.validation import first_mistake


class Value(BaseModel):
    """A frozen value.

    Some fields mean the same in every one, and are described here only. ``id``: which one it is. ``stream_id``: the
    conversation. ``user_id``: the owner. ``site_id``: the site. ``created_at``: when it was made (UTC). ``version``:
    raised by each change.

    Its validator is made with the first one: all of them together would take an eighth of a second of each import.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, defer_build=True)


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
