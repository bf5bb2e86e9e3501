"""Declared inputs: each constraint once, as a type that patches and saves share.

The checks are those of `inputs.validation`, which arguments go through too; pydantic gives each the name of its field.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from pydantic import BeforeValidator, ValidationInfo

from veupath_store.inputs import limits
from veupath_store.inputs.validation import (
    as_experiment_id,
    as_uuid,
    boolean,
    ids_of_genes,
    integer,
    name_of,
    optional_text,
    text,
    texts,
)


def checked(check: Callable[..., Any], *bounds: Any, none: bool = False, **options: Any) -> BeforeValidator:  # noqa: ANN401
    """One of the checks as a part of a type: the second part of ``Annotated``.

    Args:
        check: Called with the value, the name of the field, and what follows.
        bounds: Its further arguments.
        none: Whether ``None`` stays ``None``.
        options: Its keyword arguments.
    """

    def validate(value: object, info: ValidationInfo) -> Any:  # noqa: ANN401
        return None if none and value is None else check(value, info.field_name or "value", *bounds, **options)

    return BeforeValidator(validate)


def gene_ids(value: object, path: str) -> list[str]:
    """As `ids_of_genes`, at most `limits.GENE_IDS` of them."""
    return ids_of_genes(value, path, most=limits.GENE_IDS)


Id: TypeAlias = Annotated[UUID, checked(as_uuid)]
OptionalId: TypeAlias = Annotated[UUID | None, checked(as_uuid, none=True)]
ExperimentId: TypeAlias = Annotated[UUID, checked(as_experiment_id)]
Name: TypeAlias = Annotated[str, checked(name_of)]
NameOrBlank: TypeAlias = Annotated[str, checked(name_of, shortest=0)]
SiteId: TypeAlias = Annotated[str, checked(text, limits.SITE_ID)]
RecordType: TypeAlias = Annotated[str, checked(text, limits.RECORD_TYPE)]
OptionalRecordType: TypeAlias = Annotated[str | None, checked(optional_text, limits.RECORD_TYPE)]
SearchName: TypeAlias = Annotated[str | None, checked(optional_text, limits.SEARCH_NAME)]
Status: TypeAlias = Annotated[str, checked(text, limits.STATUS)]
BatchId: TypeAlias = Annotated[str | None, checked(optional_text, limits.BATCH_ID)]
Source: TypeAlias = Annotated[str | None, checked(optional_text, limits.SOURCE)]
ProvenanceNotes: TypeAlias = Annotated[str | None, checked(optional_text, limits.PROVENANCE_NOTES)]
GeneSetOperation: TypeAlias = Annotated[str | None, checked(optional_text, limits.GENE_SET_OPERATION)]
Flag: TypeAlias = Annotated[bool, checked(boolean)]
Count: TypeAlias = Annotated[int, checked(integer, 0, limits.INT32_MAX)]
OptionalCount: TypeAlias = Annotated[int | None, checked(integer, 0, limits.INT32_MAX, none=True)]
WdkId: TypeAlias = Annotated[int | None, checked(integer, 0, limits.INT64_MAX, none=True)]
GeneIds: TypeAlias = Annotated[list[str], checked(gene_ids)]
Tags: TypeAlias = Annotated[list[str], checked(texts, most=limits.TAGS, longest=limits.TAG)]
