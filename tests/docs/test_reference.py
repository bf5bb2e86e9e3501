"""docs/reference.md names all that the package offers, and nothing else."""

import re
from collections import Counter

import pytest

from tests.docs.entries import entries, mistake, offered
from tests.docs.pages import REPOSITORY, Page
from veupath_store.config import StoreSettings

PAGE = Page("docs/reference.md", (REPOSITORY / "docs" / "reference.md").read_text("utf-8"))


def test_every_public_call_is_in_the_reference_once():
    named = Counter(entry.name for entry in entries(PAGE) if not entry.name.endswith((".statistics", ".failures")))
    assert named.keys() == offered()
    assert not [name for name, count in named.items() if count > 1]


def test_the_arguments_and_defaults_of_the_reference_exist():
    assert not [f"{entry.name} (line {entry.line}): {found}" for entry in entries(PAGE) if (found := mistake(entry))]


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("get_status(operation_id)", None),
        ("get_status(id)", "the arguments are operation_id"),
        ("get_status()", "it needs operation_id"),
        ("sweep(limit=7)", "the default of limit is 1000"),
        ("sweep(most=…)", "there is no argument most"),
        ("vanish()", "there is no such name"),
    ],
)
def test_a_wrong_entry_is_seen(call, wrong):
    (entry,) = entries(Page("", f"## Jobs: `OperationRepository`\n\n| to | call |\n| --- | --- |\n| do | `{call}` |\n"))
    assert mistake(entry) == wrong


def test_every_option_is_in_the_reference_with_its_default():
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+?) \|", PAGE.text, re.MULTILINE)
    fields = StoreSettings.model_fields
    urls = {"database_url", "migration_database_url", "redis_url"}
    assert {name.lower() for name, _ in rows} == {name for name in fields if not name.startswith("limit_")} - urls
    for name, shown in rows:
        default = fields[name.lower()].default
        expected = {"": "none", "True": "true", "False": "false"}.get(str(default)) or f"{default:g}"
        assert shown.removesuffix(" s") == expected, name
