"""Values of experiments."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NotRequired, Unpack
from uuid import UUID

from veupath_store.documents.json import encode
from veupath_store.errors import InvalidInputError
from veupath_store.inputs.types import BatchId, ExperimentId, Flag, NameOrBlank, SiteId, Status, checked
from veupath_store.values.documents import DocumentSave, GivenSave
from veupath_store.values.value import Value


class ExperimentSummary(Value):
    """An experiment as a list shows it: everything but its document, which is never read for it.

    Attributes:
        id: The experiment.
        name: Its name; need not be unique.
        status: How far it is.
        batch_id: Its batch, or ``None``.
        benchmark_id: Its benchmark, or ``None``.
        is_primary: Whether it is the one that its benchmark is named after.
        version: Raised by each save.
        created_at: When it was first saved (UTC).
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


class _Given(GivenSave):
    status: str
    data: Mapping[str, object]
    batch_id: NotRequired[str | None]
    benchmark_id: NotRequired[str | None]
    is_primary: NotRequired[bool]


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
    """

    id: ExperimentId
    site_id: SiteId
    name: NameOrBlank
    status: Status
    data: Annotated[str, checked(_object)]
    batch_id: BatchId = None
    benchmark_id: BatchId = None
    is_primary: Flag = False

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[_Given]) -> None: ...
