"""What the descriptions of saves have in common."""

from dataclasses import dataclass
from typing import Any, TypedDict
from uuid import UUID

from veupath_store.inputs.types import Id
from veupath_store.values.value import Checked


class GivenSave(TypedDict):
    """What a type checker lets be given for any save, where that is more than what is kept."""

    id: UUID | str
    user_id: UUID | str
    site_id: str
    name: str


class DocumentSave(Checked):
    """One document as it is to be saved: checked, frozen, and with its JSON encoded when it is made.

    What the caller does to its dictionaries and lists afterwards does not change it.

    Attributes:
        id: The document.
        user_id: Its owner, who stays its owner.
    """

    id: Id
    user_id: Id

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The columns that a save writes, beside the id and the owner."""
        return tuple(name for name in cls.model_fields if name not in DocumentSave.model_fields)

    def values(self) -> list[Any]:
        """What is bound to `columns`, in their order."""
        return [getattr(self, name) for name in self.columns()]


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentDelete:
    """One document as it is to be deleted.

    Attributes:
        kind: What saves it: `ExperimentSave` or `GeneSetSave`.
        id: The document.
        user_id: Its owner.
    """

    kind: type[DocumentSave]
    id: UUID
    user_id: UUID
