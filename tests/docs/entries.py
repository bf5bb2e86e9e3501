"""The entries of docs/reference.md, and what the package offers."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

import veupath_store
from tests.docs.pages import Page
from tests.support.public import owned_repositories, public_methods, repositories

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
