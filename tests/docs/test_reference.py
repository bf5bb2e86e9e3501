"""docs/reference.md names all that the package offers, and nothing else."""

import re
from collections import Counter

import pytest

from tests.docs.entries import entries, mistake, offered
from tests.docs.pages import REPOSITORY, Page
from veupath_store.config import StoreSettings
from veupath_store.servers.database_url import PARAMETERS
from veupath_store.servers.redis_url import SENTINEL_PARAMETERS, TLS_PARAMETERS

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
    owner = "LeaseRepository" if call.startswith("sweep") else "OperationRepository"
    (entry,) = entries(Page("", f"## Jobs: `{owner}`\n\n| to | call |\n| --- | --- |\n| do | `{call}` |\n"))
    assert mistake(entry) == wrong


def test_every_option_is_in_the_reference_with_its_default():
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+?) \|", PAGE.text, re.MULTILINE)
    fields = StoreSettings.model_fields
    others = {"database_url", "migration_database_url", "redis_url", "redis_password"}
    assert {name.lower() for name, _ in rows} == fields.keys() - others
    for name, shown in rows:
        default = fields[name.lower()].default
        expected = {"": "none", "True": "true", "False": "false"}.get(str(default)) or f"{default:g}"
        assert shown.removesuffix(" s") == expected, name


@pytest.mark.parametrize(
    ("variable", "known"), [("DATABASE_URL", PARAMETERS), ("REDIS_URL", ("db", *TLS_PARAMETERS, *SENTINEL_PARAMETERS))]
)
def test_every_parameter_of_a_url_is_in_the_reference_once(variable, known):
    section = PAGE.text.partition(f"### Parameters of `{variable}`")[2].partition("\n### ")[0]
    named = [
        name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(named) == sorted(known)
