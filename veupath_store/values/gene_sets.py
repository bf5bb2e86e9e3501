"""Values of gene sets."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict

from veupath_store import limits
from veupath_store.errors import InvalidInputError
from veupath_store.json import encode
from veupath_store.validation import as_uuid, integer, one_of, optional_text, text, texts
from veupath_store.values.checked import Checked
from veupath_store.values.documents import DocumentSave


class GeneSetSource(StrEnum):
    """Where a gene set comes from."""

    STRATEGY = "strategy"
    PASTE = "paste"
    UPLOAD = "upload"
    DERIVED = "derived"
    SAVED = "saved"


class GeneSetSummary(BaseModel):
    """A gene set as a list shows it: a count instead of the gene ids, and no parameters; they are never read for it.

    Attributes:
        id: The set.
        user_id: Its owner.
        site_id: Its site.
        name: Its name; need not be unique.
        gene_count: How many ids it has.
        source: Where it comes from.
        wdk_strategy_id: The WDK strategy that it was imported from, or ``None``.
        wdk_step_id: The step of that strategy, or ``None``.
        search_name: The search of that step, or ``None``.
        record_type: What the ids are, or ``None``.
        operation: How it was derived from other sets, or ``None``.
        step_count: Steps of the strategy.
        version: Raised by each save.
        created_at: When it was first saved (UTC).
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    user_id: UUID
    site_id: str
    name: str
    gene_count: int
    source: GeneSetSource
    wdk_strategy_id: int | None
    wdk_step_id: int | None
    search_name: str | None
    record_type: str | None
    operation: str | None
    step_count: int
    version: int
    created_at: datetime


def _genes(value: object) -> str:
    return encode(texts(value, "gene_ids", most=limits.GENE_IDS, longest=limits.GENE_ID), "gene_ids")


def _parameters(value: object) -> str | None:
    return None if value is None else encode(value, "parameters")


def _parents(value: object) -> str:
    if not isinstance(value, list | tuple) or len(value) > limits.PARENT_SETS:
        raise InvalidInputError("parent_set_ids", f"a list of {limits.PARENT_SETS} ids at most is needed")
    ids = [str(as_uuid(item, f"parent_set_ids[{index}]")) for index, item in enumerate(value)]
    return encode(ids, "parent_set_ids")


def _wdk_id(path: str) -> BeforeValidator:
    return BeforeValidator(lambda value: None if value is None else integer(value, path, 0, limits.INT64_MAX))


def _optional(path: str, longest: int) -> BeforeValidator:
    return BeforeValidator(lambda value: optional_text(value, path, longest))


class GeneSetContent(Checked):
    """What a gene set holds, beside whose it is and where it belongs.

    Attributes:
        name: Its name.
        gene_ids: The ids: given as a list, kept as JSON text.
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

    name: Annotated[str, BeforeValidator(lambda value: text(value, "name", limits.NAME))]
    gene_ids: Annotated[str, BeforeValidator(_genes)]
    source: Annotated[GeneSetSource, BeforeValidator(lambda value: one_of(value, "source", GeneSetSource))] = (
        GeneSetSource.PASTE
    )
    wdk_strategy_id: Annotated[int | None, _wdk_id("wdk_strategy_id")] = None
    wdk_step_id: Annotated[int | None, _wdk_id("wdk_step_id")] = None
    search_name: Annotated[str | None, _optional("search_name", limits.SEARCH_NAME)] = None
    record_type: Annotated[str | None, _optional("record_type", limits.RECORD_TYPE)] = None
    parameters: Annotated[str | None, BeforeValidator(_parameters)] = None
    parent_set_ids: Annotated[str, BeforeValidator(_parents)] = "[]"
    operation: Annotated[str | None, _optional("operation", limits.GENE_SET_OPERATION)] = None
    step_count: Annotated[int, BeforeValidator(lambda value: integer(value, "step_count", 0, limits.INT32_MAX))] = 1


class GeneSetSave(DocumentSave, GeneSetContent):
    """A gene set as it is to be saved: a `GeneSetContent` with its owner and site.

    Attributes:
        site_id: Its site.

    Raises:
        InvalidInputError: A field is unknown or its value is refused.
    """

    site_id: Annotated[str, BeforeValidator(lambda value: text(value, "site_id", limits.SITE_ID))]
