"""What pages name in passing exists: methods, errors, and the files of the repository."""

import asyncio
import builtins
import re

import pytest

import veupath_store
from tests.docs.pages import REPOSITORY, pages
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
