"""The links of the pages."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.docs.pages import REPOSITORY, Page

_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)|^\[[^\]]+\]: (\S+)")
_CODE = re.compile(r"(`+).+?\1")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$")


def links(page: Page) -> Iterator[tuple[int, str]]:
    """The targets of a page's links, with their lines."""
    for number, line in enumerate(page.prose, 1):
        # A link's text may be code, and code may look like a link.
        for found in _LINK.finditer(_CODE.sub("code", line)):
            yield number, found[1] or found[2]


def anchors(page: Page) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    seen: dict[str, int] = {}
    found = set()
    for line in page.prose:
        if heading := _HEADING.match(line):
            slug = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            count = seen[slug] = seen.get(slug, -1) + 1
            found.add(f"{slug}-{count}" if count else slug)
    return found


def target_of(page: Page, link: str) -> tuple[str, str]:
    """The file that a relative link leads to, from the repository's top, and the anchor in it."""
    path, _, anchor = link.partition("#")
    if not path:
        return page.name, anchor
    resolved = (REPOSITORY / PurePosixPath(page.name).parent / path).resolve()
    return str(resolved.relative_to(REPOSITORY.resolve())), anchor
