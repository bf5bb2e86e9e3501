"""Changing a control set: which fields."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from veupath_store import limits
from veupath_store.json import encode
from veupath_store.validation import boolean, optional_text, text, texts
from veupath_store.values.checked import Checked


def _genes(path: str) -> BeforeValidator:
    return BeforeValidator(lambda value: texts(value, path, most=limits.GENE_IDS, longest=limits.GENE_ID))


class ControlSetPatch(Checked):
    """The fields of a control set to change. A field that is not given stays; one given as ``None`` is cleared.

    Attributes:
        name: Its name.
        record_type: What the ids are.
        positive_ids: Genes that a search should find.
        negative_ids: Genes that it should not find.
        source: Where it comes from, or ``None``.
        tags: Words to find it by.
        provenance_notes: Free text, or ``None``.
        is_public: Whether everybody sees it.

    Raises:
        InvalidInputError: A field is unknown or its value is refused.
    """

    name: Annotated[str, BeforeValidator(lambda value: text(value, "name", limits.NAME))] = ""
    record_type: Annotated[str, BeforeValidator(lambda value: text(value, "record_type", limits.RECORD_TYPE))] = ""
    positive_ids: Annotated[list[str], _genes("positive_ids")] = Field(default_factory=list)
    negative_ids: Annotated[list[str], _genes("negative_ids")] = Field(default_factory=list)
    source: Annotated[str | None, BeforeValidator(lambda value: optional_text(value, "source", limits.SOURCE))] = None
    tags: Annotated[
        list[str], BeforeValidator(lambda value: texts(value, "tags", most=limits.TAGS, longest=limits.TAG))
    ] = Field(default_factory=list)
    provenance_notes: Annotated[
        str | None,
        BeforeValidator(lambda value: optional_text(value, "provenance_notes", limits.PROVENANCE_NOTES)),
    ] = None
    is_public: Annotated[bool, BeforeValidator(lambda value: boolean(value, "is_public"))] = False

    def columns(self) -> dict[str, Any]:
        """The given fields as what is bound to their columns, in the order of the attributes above."""
        return {
            name: encode(value, name) if isinstance(value, list) else value
            for name in type(self).model_fields
            if name in self.model_fields_set
            for value in [getattr(self, name)]
        }
