"""What waits to be saved by a `DocumentWriter`: in order, one save a document, bounded, safe to use from any thread."""

import asyncio
import threading
from collections import deque
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
    """One document that waits, or is being saved.

    Attributes:
        save: Its newest content, or that it is to be deleted.
        base: The version that the caller has seen, or ``None`` for the one that the writer knows.
        since: The number of the oldest put that this stands for.
        discarded: Whether it is not wanted any more.
        sent_with: The version that a save with an unknown outcome was sent with, or ``None``.
    """

    save: Change
    base: int | None
    since: int
    discarded: bool = False
    sent_with: int | None = None

    @property
    def key(self) -> Key:
        """What is saved in order."""
        return key_of(self.save)

    def replace(self, newer: "Waiting") -> None:
        """Take the content of a newer put of the same document."""
        self.save = newer.save
        if newer.base is not None:
            self.base = newer.base


class SaveQueue:
    """Documents in the order in which they came; a newer save replaces a waiting older one, in its place.

    Whoever waits for room is served in order, before anybody who comes later: otherwise a newer save of a document
    could get in before the older one that waits outside, and be replaced by it.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._waiting: dict[Key, Waiting] = {}
        self._saving: dict[Key, Waiting] = {}
        self._outside: deque[tuple[Waiting, asyncio.Future[None]]] = deque()
        self._closed = False
        self.puts: int = 0
        self.replaced: int = 0

    def put(self, save: Change, base: int | None) -> None:
        """Let a document in.

        Raises:
            WriterFullError: There is no room for another document.
            StoreClosedError: The queue is closed.
            NotFoundError: The document waits to be deleted.
        """
        with self._lock:
            if not self._accepts(save):
                raise WriterFullError(self._room)
            self._enter(self._numbered(save, base))

    def put_or_wait(self, save: Change, base: int | None) -> asyncio.Future[None] | None:
        """Let a document in, or give a future that is done once it is in. In the event loop's thread only.

        Raises:
            StoreClosedError: The queue is closed; the future raises it, too.
        """
        with self._lock:
            if self._accepts(save):
                self._enter(self._numbered(save, base))
                return None
            future = asyncio.get_running_loop().create_future()
            self._outside.append((self._numbered(save, base), future))
            return future

    def admit(self) -> None:
        """Let in whoever waits outside, as far as there is room. In the event loop's thread only."""
        with self._lock:
            self._admit()

    def take(self) -> Waiting | None:
        """The next document to save, none that is being saved already; it counts as being saved until `done`.

        Whoever waits outside gets the room that becomes free. In the event loop's thread only.
        """
        with self._lock:
            key = next((key for key in self._waiting if key not in self._saving), None)
            if key is None:
                return None
            entry = self._saving[key] = self._waiting.pop(key)
            self._admit()
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
            found += [entry for entry, future in self._outside if entry.key == key and not future.done()]
            for entry in found:
                entry.discarded = True
            return bool(found)

    def oldest(self) -> int:
        """The number of the oldest put that is neither saved nor given up; beyond all numbers when there is none."""
        with self._lock:
            entries = [*self._waiting.values(), *self._saving.values(), *(entry for entry, _ in self._outside)]
            return min((entry.since for entry in entries), default=self.puts + 1)

    def counts(self) -> tuple[int, int]:
        """How many documents wait, and how many are being saved."""
        with self._lock:
            return len(self._waiting) + len(self._outside), len(self._saving)

    def close(self) -> None:
        """Take no further saves; whoever waits to enter gets an error."""
        with self._lock:
            self._closed = True
            outside, self._outside = self._outside, deque()
        for _, future in outside:
            if not future.done():
                future.set_exception(StoreClosedError(CLOSED))

    def drain(self) -> list[Waiting]:
        """Everything that is not saved yet, taken out."""
        with self._lock:
            left = [*self._saving.values(), *self._waiting.values()]
            self._saving.clear()
            self._waiting.clear()
            return left

    def _admit(self) -> None:
        while self._outside and (self._has_room() or self._outside[0][1].done()):
            entry, future = self._outside.popleft()
            if not future.done():
                self._enter(entry)
                future.set_result(None)

    def _accepts(self, save: Change) -> bool:
        if self._closed:
            raise StoreClosedError(CLOSED)
        key = key_of(save)
        if isinstance(save, DocumentSave) and key in self._waiting:
            self._refuse_deleted(self._waiting[key])
        return key in self._waiting or (self._has_room() and not self._outside)

    @staticmethod
    def _refuse_deleted(waiting: Waiting) -> None:
        if isinstance(waiting.save, DocumentDelete):
            raise NotFoundError("document")

    def _has_room(self) -> bool:
        return len(self._waiting) < self._room

    def _numbered(self, save: Change, base: int | None) -> Waiting:
        self.puts += 1
        return Waiting(save=save, base=base, since=self.puts)

    def _enter(self, entry: Waiting) -> None:
        if entry.discarded:
            return
        older = self._waiting.get(entry.key)
        if older is None:
            self._waiting[entry.key] = entry
            return
        if not isinstance(older.save, DocumentDelete):  # which came in past a save that waited outside
            older.replace(entry)
        self.replaced += 1
