"""docs/reference.md names all that the package offers, and nothing else."""

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

import veupath_store
from tests.docs.pages import REPOSITORY, Page
from tests.support.public import owned_repositories, public_methods, repositories
from veupath_store.config import StoreSettings
from veupath_store.servers.database_url import PARAMETERS
from veupath_store.servers.redis_url import SENTINEL_PARAMETERS, TLS_PARAMETERS

HEADER = "| to | call |"
EVERY_REPOSITORY = "## Every repository"
# Called by the store itself around a unit of work.
NOT_FOR_CALLERS = {"Session.before_commit", "Session.after_commit", "Session.after_failure"}
# Values and options: their fields are described where they are defined.
NO_SERVICES = (BaseException, BaseModel, veupath_store.Event)
_CODE = re.compile(r"`([^`]+)`")
_HEADING = re.compile(r"^#{2,} ")


@dataclass(frozen=True)
class Entry:
    """One call of the page: its line, its name (``Class.method``, or a function's), and its arguments."""

    line: int
    name: str
    call: ast.expr


def entries(page: Page) -> Iterator[Entry]:
    """The calls of the page's tables, once for each class that the section's heading names."""
    owners: list[str] = []
    inside = False
    for number, line in enumerate(page.prose, 1):
        if _HEADING.match(line):
            everywhere = [repository.__name__ for repository in owned_repositories()]
            owners = everywhere if line == EVERY_REPOSITORY else _CODE.findall(line)
        inside = line == HEADER or (inside and line.startswith("|"))
        if not inside or line == HEADER or line.startswith("| ---"):
            continue
        for code in _CODE.findall(line.split(" | ")[-1]):
            call = ast.parse(code.replace("…", "..."), mode="eval").body
            name = ast.unparse(call.func if isinstance(call, ast.Call) else call)
            yield from (Entry(number, f"{owner}.{name}" if owner else name, call) for owner in owners or [""])


def offered() -> set[str]:
    """Every public method and function of the package."""
    names = set()
    for name in veupath_store.__all__:
        value = getattr(veupath_store, name)
        if inspect.isfunction(value):
            names.add(name)
        elif inspect.isclass(value) and not issubclass(value, NO_SERVICES):
            names |= {f"{name}.{method}" for method in public_methods(value)}
    names |= {f"{it.__name__}.{method}" for it in repositories() for method in public_methods(it)}
    return names - NOT_FOR_CALLERS


def mistake(entry: Entry) -> str | None:
    """What is wrong with an entry's arguments."""
    target = _resolved(entry.name)
    if not isinstance(entry.call, ast.Call):
        return None if target is None or isinstance(target, property) else "it is called"
    if target is None:
        return "there is no such name"
    parameters = [it for it in inspect.signature(target).parameters.values() if it.name != "self"]
    by_name = {parameter.name: parameter for parameter in parameters}
    given = [ast.unparse(argument) for argument in entry.call.args]
    if given != [parameter.name for parameter in parameters[: len(given)]]:
        return f"the arguments are {', '.join(by_name)}"
    for keyword in entry.call.keywords:
        parameter = by_name.get(str(keyword.arg))
        if parameter is None:
            return f"there is no argument {keyword.arg}"
        value = ast.literal_eval(keyword.value)
        if value is not ... and value != parameter.default:
            return f"the default of {keyword.arg} is {parameter.default!r}"
    required = {it.name for it in parameters if it.default is it.empty}
    lacking = required - {*given, *(keyword.arg for keyword in entry.call.keywords)}
    return f"it needs {', '.join(sorted(lacking))}" if lacking else None


def _resolved(name: str):
    owner, _, attribute = name.rpartition(".")
    if not owner:
        return getattr(veupath_store, name, None)
    return getattr(getattr(veupath_store, owner, None), attribute, None)


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
