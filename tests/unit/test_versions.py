"""The versions of Python and of the dependencies that are declared, and what of theirs is used that is internal.

Internals change without notice. A new version that lacks one fails here, with the place that uses it; what they must
do is in the tests of the places (`test_prepared`, `test_session_resets`, `test_aerich_command`, …).
"""

import ast
import inspect
import re
from pathlib import Path

import asyncpg.pgproto.pgproto
import fastapi.sse
import pytest
import redis.asyncio.connection
import starlette.responses
import tortoise.context
from asyncpg.pool import Pool, PoolConnectionHolder, PoolConnectionProxy, _PoolConnectionHolderQueue
from asyncpg.protocol.protocol import BaseProtocol
from packaging.requirements import Requirement
from packaging.version import Version
from tortoise.backends.asyncpg.client import AsyncpgDBClient
from tortoise.backends.base.client import TransactionalDBClient
from tortoise.connection import ConnectionHandler, ConnectionToken
from tortoise.models import Model
from tortoise.queryset import QuerySet

from tests import versions
from tests.support.checkout import REPOSITORY

PACKAGE = REPOSITORY / "veupath_store"

INTERNALS = {
    AsyncpgDBClient: "_in_transaction _post_connect _close _pool acquire_connection create_connection execute_insert "
    "execute_many execute_query execute_query_dict execute_script",
    TransactionalDBClient: "begin commit rollback savepoint release_savepoint savepoint_rollback",
    ConnectionHandler: "_copy_storage _get_storage _set_storage",
    ConnectionToken: "_alias _old_value",
    tortoise.context: "_current_context _global_context",
    tortoise.context.TortoiseContext: "_connections",
    QuerySet: "_annotations _choose_db_if_not_chosen _fields_for_select _group_bys _make_query _prefetch_map "
    "_select_related_idx",
    Model: "_choose_db _init_from_db _meta _await_when_save _custom_generated_pk _partial _saved_in_db",
    asyncpg.Connection: "_addr _transport _execute _executemany _prepare _listeners _log_listeners _on_release "
    "_protocol _top_xact get_reset_query",
    asyncpg.pgproto.pgproto: "UUID",
    BaseProtocol: "_is_cancelling is_in_transaction queries_count",
    Pool: "_generation _holders _queue",
    PoolConnectionHolder: "_con _generation _max_queries _pool connect is_connected release terminate",
    _PoolConnectionHolderQueue: "_queue get_disconnected_nowait",
    PoolConnectionProxy: "_con _holder",
    redis.asyncio.connection.AbstractConnection: "_reader _writer pack_commands read_response send_packed_command",
    starlette.responses.StreamingResponse: "stream_response body_iterator",
    fastapi.sse: "KEEPALIVE_COMMENT EventSourceResponse format_sse_event",
}
"""What is used although it is not documented: methods that are overridden, and attributes that are private."""

DOCUMENTED = {"_asdict", "_replace"}
"""Of named tuples."""


def has(owner, name: str) -> bool:
    """Whether a class or a module has an attribute, or sets it in its instances."""
    if hasattr(owner, name) or not inspect.isclass(owner):
        return hasattr(owner, name)
    bases = [base for base in owner.__mro__ if base.__module__ not in ("builtins", "typing", "abc")]
    return any(re.search(rf"\.{name}\b(: [^=\n]+)? = ", inspect.getsource(base)) for base in bases)


def private_names() -> dict[str, list[Path]]:
    """The private names that the package uses and does not define, and where."""
    used, defined = {}, set(DOCUMENTED)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
                used.setdefault(node.attr, set()).add(str(path.relative_to(PACKAGE)))
                if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
                    defined.add(node.attr)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                defined.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined.add(node.id)
    return {name: sorted(paths) for name, paths in used.items() if name not in defined}


@pytest.mark.parametrize("owner", INTERNALS, ids=lambda owner: owner.__name__)
def test_the_installed_versions_have_the_internals_that_are_used(owner):
    missing = [name for name in INTERNALS[owner].split() if not has(owner, name)]
    places = {place for name in missing for place in private_names().get(name, [])}
    assert not missing, f"{owner} of the installed version lacks {missing}; look at {sorted(places) or PACKAGE}"


def test_every_internal_that_is_used_is_listed():
    listed = {name for names in INTERNALS.values() for name in names.split()}
    unlisted = {name: places for name, places in private_names().items() if name not in listed}
    assert not unlisted, "add them to INTERNALS, or do without them"


def test_an_attribute_that_is_not_there_is_found_missing():
    assert not has(QuerySet, "_no_such_attribute")
    assert not has(tortoise.context, "_no_such_attribute")


def test_every_requirement_is_a_range_that_ends():
    for item in versions.requirements():
        bounds = {specifier.operator for specifier in Requirement(item).specifier}
        assert bounds in ({">=", "<"}, {"=="}), item


def test_the_lowest_versions_are_those_that_are_declared():
    pins = {(pin := Requirement(item)).name: pin for item in versions.lowest()}
    for declared in map(Requirement, versions.requirements()):
        pin = pins[declared.name]
        [version] = [Version(specifier.version) for specifier in pin.specifier]
        floor = min(Version(bound.version) for bound in declared.specifier)
        assert (version, pin.extras, pin.marker) == (floor, declared.extras, declared.marker)
    assert pins["hypothesis"], "a tool of the tests"


def test_the_supported_versions_of_python_follow_each_other_from_the_lowest():
    pythons = versions.pythons()
    assert f">={pythons[0][0]}.{pythons[0][1]}" == versions.PROJECT["requires-python"]
    assert pythons == [(3, minor) for minor in range(pythons[0][1], pythons[-1][1] + 1)]


def test_the_newest_python_is_one_that_runs_and_is_supported(tmp_path, monkeypatch):
    for place, minor, code in (("bin", 99, 0), ("bin", 14, 127), ("pyenv/versions/3.13.0/bin", 13, 0), ("bin", 12, 0)):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        program = tmp_path / place / f"python3.{minor}"
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert versions.newest(than=(3, 11)) == str(tmp_path / "pyenv/versions/3.13.0/bin/python3.13")
    assert versions.newest(than=(3, 13)) is None
