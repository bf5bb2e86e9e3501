"""Values of experiments."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import PlainSerializer, SkipValidation

from veupath_store.documents.json import encode
from veupath_store.errors import InvalidInputError
from veupath_store.inputs.validation import BatchId, ExperimentId, Flag, NameOrBlank, SiteId, Status, checked
from veupath_store.values.documents import DocumentSave
from veupath_store.values.value import Value


class ExperimentSummary(Value):
    """An experiment as a list shows it: everything but its document, which is never read for it.

    Attributes:
        name: Its name; may be empty, and need not be unique.
        status: How far it is.
        batch_id: Its batch, or ``None``.
        benchmark_id: Its benchmark, or ``None``.
        is_primary: Whether it is the one that its benchmark is named after.
        updated_at: When it was last saved (UTC).
    """

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


def _object(value: object, path: str) -> str:
    if not isinstance(value, dict):
        raise InvalidInputError(path, "a JSON object is needed")
    return encode(value, path)


class ExperimentSave(DocumentSave):
    """An experiment as it is to be saved: fields of `ExperimentSummary`, and the document.

    Attributes:
        data: The document: given as a dictionary, kept as JSON text.
    """

    id: ExperimentId
    site_id: SiteId
    name: NameOrBlank
    status: Status
    data: Annotated[Mapping[str, object], SkipValidation(), checked(_object), PlainSerializer(str)]
    batch_id: BatchId = None
    benchmark_id: BatchId = None
    is_primary: Flag = False
