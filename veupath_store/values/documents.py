"""What the descriptions of saves have in common, and what the document writer says of them."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from veupath_store.inputs.validation import Id
from veupath_store.values.value import Checked


class DocumentSave(Checked):
    """One document as it is to be saved: checked, frozen, and with its JSON encoded when it is made.

    What the caller does to its dictionaries and lists afterwards does not change it. An id that is given as text is
    kept as a `UUID`. The owner stays the owner.
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
    """

    kind: type[DocumentSave]
    id: UUID
    user_id: UUID


@dataclass(frozen=True, kw_only=True)
class SaveFailure:
    """A save, or a deletion, that was given up.

    Attributes:
        save: What was to be saved, or deleted; it may be put again.
        error: Why it was not.
    """

    save: DocumentSave | DocumentDelete
    error: Exception


@dataclass(frozen=True, kw_only=True)
class WriterStatistics:
    """What a writer has done and has still to do.

    Attributes:
        waiting: Documents that wait.
        saving: Documents that are being saved.
        saved: Saves that are durable.
        replaced: Saves that a newer one of the same document made needless.
        retried: Tries that were repeated because the database did not answer.
        failed: Saves that were given up and reported.
        is_closed: Whether it takes no more.
    """

    waiting: int
    saving: int
    saved: int
    replaced: int
    retried: int
    failed: int
    is_closed: bool
