"""Values of gene sets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict, Unpack
from uuid import UUID

from veupath_store.documents.json import encode
from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits
from veupath_store.inputs.types import (
    Count,
    GeneSetOperation,
    Name,
    OptionalRecordType,
    SearchName,
    SiteId,
    WdkId,
    checked,
    gene_ids,
)
from veupath_store.inputs.validation import Known, as_uuid, one_of
from veupath_store.values.documents import DocumentSave, GivenSave
from veupath_store.values.value import Checked, Value


class GeneSetSource(StrEnum):
    """Where a gene set comes from."""

    STRATEGY = "strategy"
    PASTE = "paste"
    UPLOAD = "upload"
    DERIVED = "derived"
    SAVED = "saved"


class GeneSetSummary(Value):
    """A gene set as a list shows it: a count instead of the gene ids, and no parameters; they are never read for it.

    Attributes:
        id: The set.
        name: Its name; need not be unique.
        gene_count: How many ids it has.
        source: Where it comes from; text that this version does not know, where a newer one has written it.
        wdk_strategy_id: The WDK strategy that it was imported from, or ``None``.
        wdk_step_id: The step of that strategy, or ``None``.
        search_name: The search of that step, or ``None``.
        record_type: What the ids are, or ``None``.
        operation: How it was derived from other sets, or ``None``.
        step_count: Steps of the strategy.
        version: Raised by each save.
        created_at: When it was first saved (UTC).
    """

    id: UUID
    user_id: UUID
    site_id: str
    name: str
    gene_count: int
    source: Known[GeneSetSource]
    wdk_strategy_id: int | None
    wdk_step_id: int | None
    search_name: str | None
    record_type: str | None
    operation: str | None
    step_count: int
    version: int
    created_at: datetime


def _genes(value: object, path: str) -> str:
    return encode(gene_ids(value, path), path)


def _parents(value: object, path: str) -> str:
    if not isinstance(value, list | tuple) or len(value) > limits.PARENT_SETS:
        raise InvalidInputError(path, f"a list of {limits.PARENT_SETS} ids at most is needed")
    return encode([str(as_uuid(item, f"{path}[{index}]")) for index, item in enumerate(value)], path)


class _Given(TypedDict):
    name: str
    gene_ids: Sequence[str]
    source: NotRequired[GeneSetSource | str]
    wdk_strategy_id: NotRequired[int | None]
    wdk_step_id: NotRequired[int | None]
    search_name: NotRequired[str | None]
    record_type: NotRequired[str | None]
    parameters: NotRequired[Mapping[str, object] | Sequence[object] | None]
    parent_set_ids: NotRequired[Sequence[UUID | str]]
    operation: NotRequired[str | None]
    step_count: NotRequired[int]


class _GivenSave(_Given, GivenSave): ...


class GeneSetContent(Checked):
    """What a gene set holds, beside whose it is and where it belongs.

    Attributes:
        name: Its name.
        gene_ids: The ids, trimmed: given as a list, kept as JSON text.
        source: Where it comes from.
        wdk_strategy_id: The WDK strategy that it was imported from, or ``None``.
        wdk_step_id: The step of that strategy, or ``None``.
        search_name: The search of that step, or ``None``.
        record_type: What the ids are, or ``None``.
        parameters: The search's parameters, or ``None``: given as a dictionary or list, kept as JSON text.
        parent_set_ids: The sets that it was derived from: given as a list of ids, kept as JSON text.
        operation: How it was derived, or ``None``.
        step_count: Steps of the strategy.
    """

    name: Name
    gene_ids: Annotated[str, checked(_genes)]
    source: Annotated[GeneSetSource, checked(one_of, GeneSetSource)] = GeneSetSource.PASTE
    wdk_strategy_id: WdkId = None
    wdk_step_id: WdkId = None
    search_name: SearchName = None
    record_type: OptionalRecordType = None
    parameters: Annotated[str | None, checked(encode, none=True)] = None
    parent_set_ids: Annotated[str, checked(_parents)] = "[]"
    operation: GeneSetOperation = None
    step_count: Count = 1

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[_Given]) -> None: ...


class GeneSetSave(DocumentSave, GeneSetContent):
    """A gene set as it is to be saved: a `GeneSetContent` with its owner and site."""

    site_id: SiteId

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[_GivenSave]) -> None: ...
