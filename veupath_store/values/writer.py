"""Values of the document writer."""

from dataclasses import dataclass

from veupath_store.values.documents import DocumentDelete, DocumentSave


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
