"""Values of experiments."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict

from veupath_store import limits
from veupath_store.errors import InvalidInputError
from veupath_store.json import encode
from veupath_store.validation import as_experiment_id, boolean, optional_text, text
from veupath_store.values.documents import DocumentSave


class ExperimentSummary(BaseModel):
    """An experiment as a list shows it: everything but its document, which is never read for it.

    Attributes:
        id: The experiment.
        user_id: Its owner.
        site_id: Its site.
        name: Its name; need not be unique.
        status: How far it is.
        batch_id: Its batch, or ``None``.
        benchmark_id: Its benchmark, or ``None``.
        is_primary: Whether it is the one that its benchmark is named after.
        version: Raised by each save.
        created_at: When it was first saved (UTC).
        updated_at: When it was last saved (UTC).
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    user_id: UUID
    site_id: str
    name: str
    status: str
    batch_id: str | None
    benchmark_id: str | None
    is_primary: bool
    version: int
    created_at: datetime
    updated_at: datetime


def _object(value: object) -> str:
    if not isinstance(value, dict):
        raise InvalidInputError("data", "a JSON object is needed")
    return encode(value, "data")


class ExperimentSave(DocumentSave):
    """An experiment as it is to be saved.

    Attributes:
        id: The experiment.
        site_id: Its site.
        name: Its name; may be empty.
        status: How far it is.
        data: The document: given as a dictionary, kept as JSON text.
        batch_id: Its batch, or ``None``.
        benchmark_id: Its benchmark, or ``None``.
        is_primary: Whether it is the one that its benchmark is named after.

    Raises:
        InvalidInputError: A field is unknown or its value is refused.
    """

    id: Annotated[UUID, BeforeValidator(lambda value: as_experiment_id(value, "id"))]
    site_id: Annotated[str, BeforeValidator(lambda value: text(value, "site_id", limits.SITE_ID))]
    name: Annotated[str, BeforeValidator(lambda value: text(value, "name", limits.NAME, shortest=0))]
    status: Annotated[str, BeforeValidator(lambda value: text(value, "status", limits.STATUS))]
    data: Annotated[str, BeforeValidator(_object)]
    batch_id: Annotated[
        str | None, BeforeValidator(lambda value: optional_text(value, "batch_id", limits.BATCH_ID))
    ] = None
    benchmark_id: Annotated[
        str | None, BeforeValidator(lambda value: optional_text(value, "benchmark_id", limits.BATCH_ID))
    ] = None
    is_primary: Annotated[bool, BeforeValidator(lambda value: boolean(value, "is_primary"))] = False
