"""Reading a log in pages of a bounded size: most entries have a few hundred bytes, a snapshot may have megabytes."""

from collections.abc import Sequence
from typing import Final

from veupath_store.events.log.entries import Entry

FIRST: Final = 64
MOST: Final = 2_000
BYTES: Final = 4 * 1024 * 1024
"""What a page should have at the most. Before the first entry of a log their size is not known."""


class PageSize:
    """How many entries the next page may have, from the size of those that were read.

    Attributes:
        entries: That number.
    """

    def __init__(self) -> None:
        self.entries: int = FIRST

    def seen(self, page: Sequence[Entry]) -> bool:
        """Learn from a page.

        Returns:
            Whether it was full, so that there may be more.
        """
        full = len(page) == self.entries
        size = sum(len(entry.raw) for entry in page)
        fitting = max(1, len(page) * BYTES // max(1, size))
        if full or fitting < self.entries:
            self.entries = min(MOST, self.entries * 4, fitting)
        return full
