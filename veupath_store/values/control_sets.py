"""Values of control sets."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict

from veupath_store.json import decode


def _decoded(value: Any) -> Any:  # noqa: ANN401 - a jsonb column as asyncpg returns it
    return decode(value) if isinstance(value, str) else value


JsonTexts = Annotated[tuple[str, ...], BeforeValidator(_decoded)]
"""A jsonb array of texts."""


class GeneMatch(StrEnum):
    """What it means that a set contains several genes."""

    ANY = "any"
    ALL = "all"


class ControlSetSummary(BaseModel):
    """A control set as a list shows it: counts instead of the gene lists, which are never read for it.

    Attributes:
        id: The set.
        user_id: Its owner, or ``None`` for nobody's.
        site_id: Its site.
        name: Its name.
        record_type: What the ids are.
        positive_count: Genes that a search should find.
        negative_count: Genes that it should not find.
        source: Where it comes from, or ``None``.
        tags: Words to find it by.
        version: Raised by each change.
        is_public: Whether everybody sees it.
        is_seed: Whether the application ships it.
        created_at: When it was made (UTC).
    """

    model_config = ConfigDict(frozen=True)

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
