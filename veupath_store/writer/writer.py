"""Saving from code that cannot await.

writer = DocumentWriter(on_failure=tell)
writer.put(ExperimentSave(id=run, user_id=user.id, site_id="plasmodb", name="Kinases", status="running", data={…}))
await writer.flush()

A task started for each save would let the older of two quick saves win, bring deleted documents back and swallow
errors. Here the saves of one document go one after the other, each with the version that the one before returned.
"""

import asyncio
import logging
import os
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, Self
from uuid import UUID

from veupath_store.engine import start_detached
from veupath_store.errors import (
    InvalidInputError,
    OutcomeUnknownError,
    StaleVersionError,
    StoreClosedError,
    UnavailableError,
)
from veupath_store.inputs.validation import as_experiment_id, as_uuid
from veupath_store.repositories.documents import DocumentRepository
from veupath_store.repositories.experiments import ExperimentRepository
from veupath_store.repositories.gene_sets import GeneSetRepository
from veupath_store.session import get_engine
from veupath_store.session.engine import Engine, on_open
from veupath_store.values import (
    DocumentDelete,
    DocumentSave,
    ExperimentSave,
    GeneSetSave,
    SaveFailure,
    WriterStatistics,
)
from veupath_store.writer.queue import Change, Key, SaveQueue, Waiting, key_of

logger: logging.Logger = logging.getLogger("veupath_store.writer")

OnFailure = Callable[[Change, Exception], None]

_REPOSITORIES: Final[dict[type[DocumentSave], type[DocumentRepository[Any, Any, Any]]]] = {
    ExperimentSave: ExperimentRepository,
    GeneSetSave: GeneSetRepository,
}
# Seconds between two tries while the database does not answer: doubled from the first to the longest.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
# A version that is forgotten is read again.
_VERSIONS_KEPT: Final = 10_000
_FAILURES_KEPT: Final = 100


class DocumentWriter:
    """Saves experiments and gene sets in the background: ordered, coalescing and bounded, with reported failures.

    It belongs to the store that is open, or that is opened first: one that is made before, as by a module, keeps what
    it is given until then. `close_db` drains it. While nothing waits it has no task and no connection.

    * Saves of one document go in the order of the puts; a newer one replaces an older one that still waits.
    * While the database does not answer, saves are repeated until it does. A save whose answer was lost is sent
      again with the same version, and read back if that is refused.
    * Everything else (a stale version, a deleted document) is reported: logged, counted, kept in `failures`, and
      given to `on_failure`. After a conflict the saves of that document go on being refused, until `discard` makes
      the writer forget the version that it knows: the caller has to read the document again first.

    Args:
        max_waiting: Documents that may wait.
        parallel: Documents that are saved at once, each on a connection.
        on_failure: Called in the event loop with each save, or deletion, that was given up, and why.
    """

    def __init__(self, *, max_waiting: int = 1_000, parallel: int = 2, on_failure: OnFailure | None = None) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._queue = SaveQueue(max_waiting)
        self._parallel = parallel
        self._on_failure = on_failure
        self._versions: OrderedDict[Key, int] = OrderedDict()
        self._runners: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._saved = self._retried = self._failed = 0
        self.failures: Final[deque[SaveFailure]] = deque(maxlen=_FAILURES_KEPT)
        self._forget_opening = on_open(self._bind)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return  # none runs yet: the store that is opened first takes what is put until then
        self._bind(get_engine())

    def _bind(self, engine: Engine) -> None:
        """Belong to a store, in its event loop, and begin with what waits."""
        self._loop, self._engine = asyncio.get_running_loop(), engine
        self._unregister = engine.on_close(self.close)
        self._forget_opening()
        self._start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @property
    def statistics(self) -> WriterStatistics:
        """What it has done and has still to do."""
        waiting, saving = self._queue.counts()
        return WriterStatistics(
            waiting=waiting,
            saving=saving,
            saved=self._saved,
            replaced=self._queue.replaced,
            retried=self._retried,
            failed=self._failed,
            is_closed=self._closing is not None,
        )

    def put(self, save: DocumentSave, *, version: int | None = None) -> None:
        """Take a document to be saved, and return at once. May be called from any thread.

        Args:
            save: An `ExperimentSave` or a `GeneSetSave`.
            version: The version that the caller has read, for a document that this writer has not saved yet. Without
                it the writer reads the version that is stored, or takes the document for a new one.

        Raises:
            WriterFullError: `max_waiting` documents wait already; this one was not taken.
            StoreClosedError: The writer, or its event loop, is closed; this one was not taken.
            NotFoundError: The document waits to be deleted.
            InvalidInputError: It is no save.
        """
        self._check(type(save))
        self._queue.put(save, version)
        self._wake()

    def delete(self, kind: type[DocumentSave], document_id: UUID | str, user_id: UUID | str) -> None:
        """Delete a document for good after the saves of it that are under way, and return at once. From any thread.

        Saves of it that wait are dropped. Later ones are refused: the id is not used again. While the database does
        not answer the deletion is repeated; `on_failure` hears of one that is given up.

        Args:
            kind: `ExperimentSave` or `GeneSetSave`.
            document_id: The experiment or gene set; there need not be one.

        Raises:
            WriterFullError: `max_waiting` documents wait already; nothing is deleted.
            StoreClosedError: The writer, or its event loop, is closed; nothing is deleted.
            InvalidInputError: It is no kind of save.
        """
        self._check(kind)
        as_id = as_experiment_id if kind is ExperimentSave else as_uuid
        owner = as_uuid(user_id, "user_id")
        self._queue.put(DocumentDelete(kind=kind, id=as_id(document_id, "document_id"), user_id=owner), None)
        self._wake()

    def discard(self, document_id: UUID | str) -> bool:
        """Forget what waits for a document, and its version. May be called from any thread.

        To be called before the document is deleted, or read again after a conflict. A save that is under way is not
        stopped, but no longer repeated nor reported.

        Args:
            document_id: The experiment or gene set.

        Returns:
            Whether anything waited or was under way.
        """
        identity = as_experiment_id(document_id, "document_id")
        keys = [(kind, identity) for kind in _REPOSITORIES]
        found = [self._queue.discard(key) for key in keys]
        for key in keys:
            self._versions.pop(key, None)
        self._wake()
        return any(found)

    async def flush(self) -> None:
        """Wait until all that was put before is saved or reported. While the database does not answer, it waits."""
        if self._loop is None:
            self._bind(get_engine())
        last = self._queue.puts
        while self._queue.oldest() <= last:
            await self._moved.wait()

    async def close(self) -> None:
        """Take nothing more, save what waits, and report what could not be saved in time.

        Waits at most `StoreSettings.close_timeout` seconds. Closing twice is harmless. `close_db` calls it.
        """
        if self._loop is None:
            self._bind(get_engine())
        if self._closing is None:
            self._closing = start_detached(self._close(), name="close document writer")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._queue.close()
        try:
            async with asyncio.timeout(self._engine.settings.close_timeout):
                await self.flush()
        except TimeoutError:
            for runner in self._runners:
                runner.cancel()
            await asyncio.gather(*self._runners, return_exceptions=True)
            self._give_up_all()
        self._unregister()

    def _give_up_all(self) -> None:
        for entry in self._queue.drain():
            self._give_up(
                entry,
                StoreClosedError("The document was not saved: the store was closed before the database answered.")
                if entry.sent_with is None
                else OutcomeUnknownError("It is not known whether the document was saved: the store was closed."),
            )
        self._tell()

    def _check(self, kind: type[DocumentSave]) -> None:
        if kind not in _REPOSITORIES:
            raise InvalidInputError("save", "an ExperimentSave or a GeneSetSave is needed")
        if self._loop is not None and self._loop.is_closed():
            raise StoreClosedError("The event loop of the writer has ended; the document was not taken.")
        if self._process != os.getpid():
            raise StoreClosedError("The writer belongs to the parent of this process; the document was not taken.")

    def _wake(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        """Start as many tasks as there is work and leave for."""
        while len(self._runners) < self._parallel and (entry := self._queue.take()) is not None:
            runner = start_detached(self._run(entry), name="document writer")
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)
        self._tell()

    async def _run(self, entry: Waiting | None) -> None:
        while entry is not None:
            try:
                await self._settle(entry)
            except asyncio.CancelledError:
                # By `close`, which reports, or by an event loop that ends without it.
                if self._closing is None:
                    self._give_up_all()
                raise
            except Exception as exc:  # noqa: BLE001 - reported
                self._give_up(entry, exc)
            self._queue.done(entry)
            self._tell()
            entry = self._queue.take()

    async def _settle(self, entry: Waiting) -> None:
        """Try until the document is saved, or refused."""
        pause = _FIRST_PAUSE
        while not entry.discarded:
            try:
                version = await self._save(entry)
            except StoreClosedError:
                raise
            except (UnavailableError, OutcomeUnknownError) as exc:
                logger.warning("saving %s is tried again: %s", _name(entry.save), exc)
            else:
                self._remember(entry, version)
                self._saved += 1
                return
            self._retried += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the tries
            pause = min(pause * 2, _LONGEST_PAUSE)
            # Nothing newer as long as it is not known which version the older one left behind.
            if entry.sent_with is None:
                self._queue.renew(entry)

    async def _save(self, entry: Waiting) -> int | None:
        """One try. The version that the document has then; ``None`` for one that is deleted."""
        repository, save = _REPOSITORIES[entry.key[0]](), entry.save
        if isinstance(save, DocumentDelete):
            await repository.for_user(save.user_id).delete(save.id)
            return None
        seen = entry.sent_with
        if seen is None:
            seen = await self._seen(entry, save, repository)
        try:
            return await repository.write(save, version=seen)
        except (OutcomeUnknownError, asyncio.CancelledError):
            entry.sent_with = seen
            raise
        except StaleVersionError:
            # Refused, because the try whose answer was lost was saved after all?
            if entry.sent_with is not None and await repository.is_written(save, version=seen + 1):
                return seen + 1
            raise

    async def _seen(self, entry: Waiting, save: DocumentSave, repository: DocumentRepository[Any, Any, Any]) -> int:
        """The version to save on: what the last save returned, what the caller has read, or what is stored."""
        version = self._versions.get(entry.key, entry.base)
        if version is None:
            version = await repository.get_version(save.id, user_id=save.user_id) or 0
        self._remember(entry, version)
        return version

    def _remember(self, entry: Waiting, version: int | None) -> None:
        if version is None:
            self._versions.pop(entry.key, None)
        if version is None or entry.discarded:
            return
        self._versions[entry.key] = version
        self._versions.move_to_end(entry.key)
        if len(self._versions) > _VERSIONS_KEPT:
            self._versions.popitem(last=False)

    def _give_up(self, entry: Waiting, error: Exception) -> None:
        if entry.discarded:
            return
        self._failed += 1
        self.failures.append(SaveFailure(save=entry.save, error=error))
        logger.error("%s was not saved: %s", _name(entry.save), error)
        if self._on_failure is not None:
            try:
                self._on_failure(entry.save, error)
            except Exception:
                logger.exception("on_failure failed for %s", _name(entry.save))

    def _tell(self) -> None:
        """Wake whoever waits in `flush`."""
        self._moved.set()
        self._moved = asyncio.Event()


def _name(save: Change) -> str:
    return f"{_REPOSITORIES[key_of(save)[0]].entity} {save.id}"
