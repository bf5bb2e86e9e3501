"""Every page does what it says."""

import re

import pytest

from tests.docs.commands import parse
from tests.docs.not_run import not_run
from tests.docs.pages import Page, WrongPageError, pages
from tests.docs.runner import Runner, importable


def is_large(page: Page) -> bool:
    """Whether a page starts a server, or more than two other processes."""
    try:
        commands = [command for block in page.blocks if block.language == "console" for command in parse(block)]
    except WrongPageError:
        return False  # its test will say so
    return (
        any("^C" in command.expected for command in commands) or len([c for c in commands if not is_elsewhere(c)]) > 2
    )


def is_elsewhere(command) -> bool:
    try:
        return not_run(command.text) is not None
    except LookupError:
        return True


PAGES = [pytest.param(page, id=page.name, marks=[pytest.mark.large] if is_large(page) else []) for page in pages()]


@pytest.mark.parametrize("page", PAGES)
async def test_every_block_of_a_page_does_what_the_page_says(page, environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with importable(tmp_path):
        done = await Runner(page, tmp_path, environment).run()
    # Counted once more by eye, as it were, so that no block escapes a mistake in the reading of pages.
    fences = re.findall(r"^ *(?:```|~~~)", page.text, re.MULTILINE)
    assert len(done) == len(fences) / 2, "a fence was not seen"
