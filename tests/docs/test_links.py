"""Links lead somewhere, and every page is linked from the README."""

import pytest

from tests.docs.links import anchors, links, target_of
from tests.docs.pages import REPOSITORY, Page, pages

PENDING: set[str] = set()
"""Pages that are linked and still to be written."""


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_relative_links_and_their_anchors_lead_somewhere(page):
    others = {other.name: other for other in pages()}
    wrong = []
    for line, link in links(page):
        if link.startswith(("https://", "mailto:")):
            continue
        path, anchor = target_of(page, link)
        if path in PENDING:
            continue
        if not (REPOSITORY / path).exists() or (anchor and anchor not in anchors(others[path])):
            wrong.append(f"{page.name}:{line}: {link}")
    assert not wrong


def test_every_page_is_linked_from_the_readme():
    (readme,) = [page for page in pages() if page.name == "README.md"]
    linked = {target_of(readme, link)[0] for _, link in links(readme) if not link.startswith("https://")}
    assert {page.name for page in pages()} - {"README.md"} <= linked
    assert linked >= PENDING


def test_no_pending_page_exists():
    assert not [name for name in PENDING if (REPOSITORY / name).exists()], "it is written: take it out of PENDING"


def test_links_and_anchors_are_found_where_they_are_and_not_in_code():
    page = Page(
        "docs/page.md", "# A page: `x_y`\n[`code`](a.md#b)\n`[no](x)` [c](#d)\n```text\n[no](y)\n```\n## A\n## A\n"
    )
    assert list(links(page)) == [(2, "a.md#b"), (3, "#d")]
    assert anchors(page) == {"a-page-x_y", "a", "a-1"}
    assert target_of(page, "../README.md#install") == ("README.md", "install")
