"""Values of gene sets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import SkipValidation

from veupath_store.documents.json import encode
from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import (
    Count,
    GeneSetOperation,
    Known,
    Name,
    OptionalRecordType,
    SearchName,
    SiteId,
    WdkId,
    as_uuid,
    checked,
    gene_ids,
    one_of,
)
from veupath_store.values.documents import DocumentSave
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
        name: Its name; need not be unique.
        gene_count: How many ids it has.
        source: Where it comes from; text that this version does not know, where a newer one has written it.
        wdk_strategy_id: The WDK strategy that it was imported from, or ``None``.
        wdk_step_id: The step of that strategy, or ``None``.
        search_name: The search of that step, or ``None``.
        record_type: What the ids are, or ``None``.
        operation: How it was derived from other sets, or ``None``.
        step_count: Steps of the strategy.
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


class GeneSetContent(Checked):
    """What a gene set holds, beside whose it is and where it belongs: fields of `GeneSetSummary`, and what it omits.

    Attributes:
        gene_ids: The ids, trimmed, in the order that is kept: given as a list, kept as JSON text.
        parameters: The search's parameters, or ``None``: given as a dictionary or list, kept as JSON text.
        parent_set_ids: The sets that it was derived from: given as a list of ids, kept as JSON text.
    """

    name: Name
    gene_ids: Annotated[Sequence[str], SkipValidation(), checked(_genes)]
    source: Annotated[GeneSetSource | str, checked(one_of, GeneSetSource)] = GeneSetSource.PASTE
    wdk_strategy_id: WdkId = None
    wdk_step_id: WdkId = None
    search_name: SearchName = None
    record_type: OptionalRecordType = None
    parameters: Annotated[
        Mapping[str, object] | Sequence[object] | None, SkipValidation(), checked(encode, none=True)
    ] = None
    parent_set_ids: Annotated[Sequence[UUID | str], SkipValidation(), checked(_parents)] = "[]"
    operation: GeneSetOperation = None
    step_count: Count = 1


class GeneSetSave(DocumentSave, GeneSetContent):
    """A gene set as it is to be saved: a `GeneSetContent` with its owner and site."""

    site_id: SiteId
