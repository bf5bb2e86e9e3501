"""What waits to be saved by a `DocumentWriter`: in order, one save a document, bounded, safe to use from any thread."""

import threading
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from veupath_store.errors import NotFoundError, StoreClosedError, WriterFullError
from veupath_store.values import DocumentDelete, DocumentSave

CLOSED: Final = "The writer is closed; the document was not taken. Make another writer after init_db."

Key: TypeAlias = tuple[type[DocumentSave], UUID]
Change: TypeAlias = DocumentSave | DocumentDelete


def key_of(change: Change) -> Key:
    """What is saved in order."""
    return (change.kind if isinstance(change, DocumentDelete) else type(change)), change.id


@dataclass(eq=False)
class Waiting:
    """One document that waits, or is being saved."""

    key: Key  # what is saved in order
    save: Change  # its newest content, or that it is to be deleted
    base: int | None  # the version that the caller has seen, or None for the one that the writer knows
    since: int  # the number of the oldest put that this stands for
    discarded: bool = False  # it is not wanted any more
    sent_with: int | None = None  # the version that a save with an unknown outcome was sent with

    def replace(self, newer: "Waiting") -> None:
        """Take the content of a newer put of the same document."""
        self.save = newer.save
        if newer.base is not None:
            self.base = newer.base


class SaveQueue:
    """Documents in the order in which they came; a newer save replaces a waiting older one, in its place."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._waiting: dict[Key, Waiting] = {}
        self._saving: dict[Key, Waiting] = {}
        self._closed = False
        self.puts: int = 0
        self.replaced: int = 0

    def put(self, save: Change, base: int | None) -> None:
        """Let a document in, if the queue is open and has room, and the document does not wait to be deleted."""
        with self._lock:
            key = key_of(save)
            older = self._waiting.get(key)
            self._check(save, older)
            self.puts += 1
            newer = Waiting(key, save=save, base=base, since=self.puts)
            if older is None:
                self._waiting[key] = newer
                return
            self.replaced += 1
            if not isinstance(older.save, DocumentDelete):
                older.replace(newer)

    def _check(self, save: Change, older: Waiting | None) -> None:
        if self._closed:
            raise StoreClosedError(CLOSED)
        if older is None and len(self._waiting) >= self._room:
            raise WriterFullError(self._room)
        if older is not None and isinstance(older.save, DocumentDelete) and isinstance(save, DocumentSave):
            raise NotFoundError("document")

    def take(self) -> Waiting | None:
        """The next document to save, none that is being saved already; it counts as being saved until `done`."""
        with self._lock:
            key = next((key for key in self._waiting if key not in self._saving), None)
            if key is None:
                return None
            entry = self._saving[key] = self._waiting.pop(key)
            return entry

    def renew(self, entry: Waiting) -> None:
        """Give a document that is being saved the newer content that waits for it, if any; not one that is deleted."""
        with self._lock:
            newer = None if isinstance(entry.save, DocumentDelete) else self._waiting.pop(entry.key, None)
            if newer is not None:
                entry.replace(newer)
                self.replaced += 1

    def done(self, entry: Waiting) -> None:
        """The document is saved, or given up."""
        with self._lock:
            self._saving.pop(entry.key, None)

    def discard(self, key: Key) -> bool:
        """Forget what waits for a document; what is being saved is marked."""
        with self._lock:
            found = [entry for entry in (self._waiting.pop(key, None), self._saving.get(key)) if entry is not None]
            for entry in found:
                entry.discarded = True
            return bool(found)

    def oldest(self) -> int:
        """The number of the oldest put that is neither saved nor given up; beyond all numbers when there is none."""
        with self._lock:
            entries = [*self._waiting.values(), *self._saving.values()]
            return min((entry.since for entry in entries), default=self.puts + 1)

    def counts(self) -> tuple[int, int]:
        """How many documents wait, and how many are being saved."""
        with self._lock:
            return len(self._waiting), len(self._saving)

    def close(self) -> None:
        """Take no further saves."""
        with self._lock:
            self._closed = True

    def drain(self) -> list[Waiting]:
        """Everything that is not saved yet, taken out."""
        with self._lock:
            left = [*self._saving.values(), *self._waiting.values()]
            self._saving.clear()
            self._waiting.clear()
            return left
