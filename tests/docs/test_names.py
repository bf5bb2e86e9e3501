"""What pages name in passing exists: methods, errors, files; and links lead somewhere, from the README to all."""

import asyncio
import builtins
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

import veupath_store
from tests.docs.pages import REPOSITORY, Page, pages
from veupath_store import errors

# SQLAlchemy's and asyncpg's, where a page compares.
FOREIGN = {
    "DataError", "DetachedInstanceError", "IntegrityError", "InterfaceError", "InvalidRequestError", "OperationalError",
    "PendingRollbackError", "ProgrammingError", "StaleDataError",
}  # fmt: skip
_CODE = re.compile(r"`([^`]+)`")


def _spans(page):
    for number, line in enumerate(page.prose, 1):
        for code in _CODE.findall(line):
            yield f"{page.name}:{number}: {code}", code


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_errors_that_a_page_names_exist(page):
    named = {where: name for where, code in _spans(page) for name in re.findall(r"\b[A-Z]\w+Error\b", code)}
    assert not [
        where
        for where, name in named.items()
        if name not in FOREIGN and not any(hasattr(module, name) for module in (errors, builtins, asyncio))
    ]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_attributes_of_our_classes_that_a_page_names_exist(page):
    wrong = []
    for where, code in _spans(page):
        found = re.match(r"(\w+)(?:\([^()]*\))?\.(\w+)", code)
        owner = getattr(veupath_store, found[1], None) if found and found[1] in veupath_store.__all__ else None
        if owner is not None and not (hasattr(owner, found[2]) or found[2] in getattr(owner, "model_fields", {})):
            wrong.append(where)
    assert not wrong


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_paths_that_a_page_names_exist(page):
    tops = "veupath_store|migrations|tests|docs|demo|benchmarks"
    paths = {where: code for where, code in _spans(page) if re.fullmatch(rf"(?:{tops})/[\w./-]*", code)}
    assert not [where for where, path in paths.items() if not (REPOSITORY / path).exists()]


# links

_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)|^\[[^\]]+\]: (\S+)")
_QUOTED = re.compile(r"(`+).+?\1")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$")


def links(page: Page) -> Iterator[tuple[int, str]]:
    """The targets of a page's links, with their lines."""
    for number, line in enumerate(page.prose, 1):
        # A link's text may be code, and code may look like a link.
        for found in _LINK.finditer(_QUOTED.sub("code", line)):
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


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_relative_links_and_their_anchors_lead_somewhere(page):
    others = {other.name: other for other in pages()}
    wrong = []
    for line, link in links(page):
        if link.startswith(("https://", "mailto:")):
            continue
        path, anchor = target_of(page, link)
        if not (REPOSITORY / path).exists() or (anchor and anchor not in anchors(others[path])):
            wrong.append(f"{page.name}:{line}: {link}")
    assert not wrong


def test_every_page_is_linked_from_the_readme():
    (readme,) = [page for page in pages() if page.name == "README.md"]
    linked = {target_of(readme, link)[0] for _, link in links(readme) if not link.startswith("https://")}
    assert {page.name for page in pages()} - {"README.md"} <= linked


def test_links_and_anchors_are_found_where_they_are_and_not_in_code():
    text = "# A page: `x_y`\n[`code`](a.md#b)\n`[no](x)` [c](#d)\n```text\n[no](y)\n```\n## A\n## A\n"
    page = Page("docs/page.md", text)
    assert list(links(page)) == [(2, "a.md#b"), (3, "#d")]
    assert anchors(page) == {"a-page-x_y", "a", "a-1"}
    assert target_of(page, "../README.md#install") == ("README.md", "install")
