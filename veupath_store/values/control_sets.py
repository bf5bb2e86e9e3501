"""Values of control sets."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, Field

from veupath_store.documents.json import decode, encode
from veupath_store.inputs.validation import Flag, GeneIds, Name, ProvenanceNotes, RecordType, Source, Tags
from veupath_store.values.value import Checked, Value


def _decoded(value: Any) -> Any:  # noqa: ANN401 - a jsonb column as asyncpg returns it
    return decode(value) if isinstance(value, str) else value


JsonTexts = Annotated[tuple[str, ...], BeforeValidator(_decoded)]
"""A jsonb array of texts."""


class GeneMatch(StrEnum):
    """What it means that a set contains several genes."""

    ANY = "any"
    ALL = "all"


class ControlSetSummary(Value):
    """A control set as a list shows it: counts instead of the gene lists, which are never read for it.

    Attributes:
        user_id: Its owner, or ``None`` where it has no owner.
        name: Its name.
        record_type: What the ids are.
        positive_count: Genes that a search should find.
        negative_count: Genes that it should not find.
        source: Where it comes from, or ``None``.
        tags: Words to find it by.
        is_public: Whether everybody sees it.
        is_seed: Whether the application ships it.
    """

    id: UUID
    user_id: UUID | None
    site_id: str
    name: str
    record_type: str
    positive_count: int
    negative_count: int
    source: str | None
    tags: JsonTexts
    version: int
    is_public: bool
    is_seed: bool
    created_at: datetime


class ControlSetPatch(Checked):
    """The fields of a control set to change. A field that is not given stays; one given as ``None`` is cleared.

    Attributes:
        name: Its name; need not be unique.
        record_type: What the ids are.
        positive_ids: Genes that a search should find.
        negative_ids: Genes that it should not find.
        source: Where it comes from, or ``None``.
        tags: Words to find it by.
        provenance_notes: Free text, or ``None``.
        is_public: Whether everybody sees it.
    """

    name: Name = ""
    record_type: RecordType = ""
    positive_ids: GeneIds = Field(default_factory=list)
    negative_ids: GeneIds = Field(default_factory=list)
    source: Source = None
    tags: Tags = Field(default_factory=list)
    provenance_notes: ProvenanceNotes = None
    is_public: Flag = False

    def columns(self) -> dict[str, Any]:
        """The given fields as what is bound to their columns, in the order of the attributes above."""
        return {
            name: encode(value, name) if isinstance(value, list) else value
            for name in type(self).model_fields
            if name in self.model_fields_set
            for value in [getattr(self, name)]
        }
