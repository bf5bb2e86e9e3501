"""The pages, and their fenced blocks."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LANGUAGES = frozenset({"python", "console", "sql", "toml", "ini", "yaml", "mermaid", "text"})
MERMAID_PAGES = frozenset({"docs/data-model.md"})

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})(?P<info>.*)$")
_INFO = re.compile(r'^(?P<language>\w+)(?: title="(?P<title>[\w./-]+)")?$')


class WrongPageError(AssertionError):
    """A page says what is not so; the message begins with its file and line."""

    def __init__(self, where: str, line: int, reason: str) -> None:
        super().__init__(f"{where}:{line}: {reason}")
        self.line = line


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        page: The page's path from the repository's top.
        line: The line of its opening fence; its text begins one line further down.
        language: What stands behind the fence.
        title: The name of the file that it is, if any.
        text: Its lines, each with its end.
    """

    page: str
    line: int
    language: str
    title: str | None
    text: str

    def wrong(self, reason: str, line: int = 0) -> WrongPageError:
        """The error for a line of the text, counted from 1; 0 is the fence."""
        return WrongPageError(self.page, self.line + line, reason)


@dataclass(frozen=True)
class Page:
    """One page: its path from the repository's top, and its text."""

    name: str
    text: str

    @cached_property
    def blocks(self) -> list[Block]:
        """Its fenced blocks, from top to bottom."""
        return list(_blocks(self.name, self.text.splitlines(keepends=True)))

    @cached_property
    def prose(self) -> list[str]:
        """Its lines by their numbers (from 0), those of blocks emptied."""
        lines = self.text.splitlines()
        for block in self.blocks:
            for number in range(block.line - 1, block.line + len(block.text.splitlines()) + 1):
                lines[number] = ""
        return lines


def pages() -> list[Page]:
    """The README and the pages of docs/."""
    paths = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    return [Page(str(path.relative_to(REPOSITORY)), path.read_text("utf-8")) for path in paths]


def _blocks(page: str, lines: list[str]):
    number = 0
    while number < len(lines):
        opening = _FENCE.match(lines[number].rstrip("\n"))
        number += 1
        if opening is None:
            continue
        start = number
        while number < len(lines) and not _closes(lines[number], opening):
            number += 1
        if number == len(lines):
            raise WrongPageError(page, start, "this fence is never closed")
        text = "".join(line.removeprefix(opening["indent"]) for line in lines[start:number])
        yield _block(page, start, opening["info"].strip(), text)
        number += 1


def _closes(line: str, opening: re.Match[str]) -> bool:
    bare = line.strip()
    return len(bare) >= len(opening["ticks"]) and not bare.strip(opening["ticks"][0])


def _block(page: str, line: int, info: str, text: str) -> Block:
    found = _INFO.match(info)
    if found is None or found["language"] not in LANGUAGES:
        raise WrongPageError(page, line, f"a fence is one of {', '.join(sorted(LANGUAGES))}, not {info!r}")
    if found["language"] == "mermaid" and page not in MERMAID_PAGES:
        raise WrongPageError(page, line, "a diagram that no test keeps current")
    return Block(page=page, line=line, language=found["language"], title=found["title"], text=text)
