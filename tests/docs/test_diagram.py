"""The entity diagram is what the migrations make."""

import pytest

from tests.docs import diagram
from tests.docs.pages import Page


async def test_the_diagram_shows_the_tables_as_they_are(database_url):
    shown = diagram.diagram_of(diagram.PAGE.read_text("utf-8"))
    assert shown == diagram.draw(await diagram.read(database_url)), "make diagram"


async def test_every_table_has_a_section_of_its_own(database_url):
    tables = {row["table_name"] for row in (await diagram.read(database_url)).columns}
    prose = Page("docs/data-model.md", diagram.PAGE.read_text("utf-8")).prose
    headings = {line.strip("#` ") for line in prose if line.startswith("### `")}
    assert len(tables) > 7
    assert headings == tables


async def test_the_diagram_changes_with_the_tables(database_url, server):
    before = diagram.draw(await diagram.read(database_url))
    name = database_url.partition("?")[0].rpartition("/")[2]
    await server.run(
        "ALTER TABLE users ADD COLUMN nickname text UNIQUE",
        "ALTER TABLE users ADD COLUMN friend_id uuid REFERENCES users ON DELETE SET NULL",
        database=name,
    )
    added = set(diagram.draw(await diagram.read(database_url)).splitlines()) - set(before.splitlines())
    assert added == {
        '        text nickname UK "may be null"',
        '        uuid friend_id FK "may be null"',
        '    users |o--o{ users : "friend_id: set to null"',
    }


@pytest.mark.large
def test_the_command_writes_the_diagram_into_the_page(tmp_path):
    page = tmp_path / "page.md"
    text = diagram.PAGE.read_text("utf-8")
    page.write_text(diagram.written(text, "erDiagram\n"))
    diagram.main(page)
    assert page.read_text("utf-8") == text
