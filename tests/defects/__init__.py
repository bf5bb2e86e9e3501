"""Defects that are planted in the package to see that the suite finds them: `python -m tests.defects`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class UnplantableError(ValueError):
    """A defect's text is not there exactly once: the package has changed, and the defect must follow it."""


@dataclass(frozen=True)
class Defect:
    """What a tired programmer might get wrong.

    Attributes:
        name: What the package does with it, as a phrase.
        edits: The text that goes, in whichever module it is, and the text that comes; several where one alone is made
            up for by another part.
    """

    name: str
    edits: tuple[tuple[str, str], ...]

    def planted_in(self, package: Path) -> dict[Path, str]:
        """The modules that it changes, with their new text."""
        changed: dict[Path, str] = {}
        for old, new in self.edits:
            path = self._place(old, package)
            changed[path] = changed.get(path, path.read_text()).replace(old, new)
        return changed

    def _place(self, text: str, package: Path) -> Path:
        """The one module that has the text, once."""
        found = [path for path in sorted(package.rglob("*.py")) for _ in range(path.read_text().count(text))]
        if len(found) != 1:
            where = ", ".join(str(path.relative_to(package)) for path in found) or "nowhere"
            raise UnplantableError(f"{self.name!r}: its text must be there once, and is {where}:\n{text}")
        return found[0]

    @contextmanager
    def planted(self, package: Path) -> Iterator[None]:
        """The package has the defect until the block ends."""
        changed = self.planted_in(package)
        sound = {path: path.read_text() for path in changed}
        try:
            for path, text in changed.items():
                path.write_text(text)
            yield
        finally:
            for path, text in sound.items():
                path.write_text(text)
