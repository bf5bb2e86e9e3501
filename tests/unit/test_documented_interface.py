"""The names and signatures that users rely on, and what an import of the repositories brings along."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from tortoise import fields
from tortoise.fields.relational import OneToOneFieldInstance
from tortoise.models import Model

import veupath_store
from tests.support.public import repositories
from veupath_store import events, models, session
from veupath_store import repositories as repositories_package
from veupath_store.models.fields import JSONField

# Signatures as they are documented: names, order, kinds and defaults. Annotations are checked by mypy.
SESSION = {
    "get_engine": "()",
    "async_session_factory": "()",
    "get_db_session": "()",
    "init_db": "(create_schema=False, *, settings=None, require_head=None)",
    "close_db": "()",
}
REPOSITORIES = {
    "UserRepository": {
        "__init__": "(self, session=None)",
        "for_user": "(self, user_id)",
        "get_by_id": "(self, id)",
        "get_or_create": "(self, user_id, *, external_id=None)",
        "get_or_create_by_external_id": "(self, external_id)",
        "create": "(self, external_id=None)",
    },
    "StreamRepository": {
        "__init__": "(self, session=None)",
        "for_user": "(self, user_id)",
        "create": "(self, user_id, site_id, *, stream_id=None, name='', experiment_id=None)",
        "get_by_id": "(self, id)",
        "delete": "(self, id)",
        "find_by_experiment": "(self, user_id, experiment_id)",
        "get_projection": "(self, stream_id)",
        "list_projections": "(self, user_id, site_id=None, limit=50)",
        "list_dismissed_projections": "(self, user_id, site_id=None, limit=50)",
        "get_by_wdk_strategy_id": "(self, user_id, wdk_strategy_id)",
        "dismiss": "(self, stream_id)",
        "restore": "(self, stream_id)",
        "prune_wdk_orphans": "(self, user_id, site_id, live_wdk_ids)",
        "update_projection": "(self, stream_id, *, name=None, record_type=None, wdk_strategy_id=None, "
        "wdk_strategy_id_set=False, is_saved=None, is_saved_set=False, plan=None, step_count=None, "
        "result_count=None, result_count_set=False, gene_set_id=None, gene_set_id_set=False, "
        "gene_set_auto_imported=None, expected=None)",
    },
    "ControlSetRepository": {
        "__init__": "(self, session=None)",
        "for_user": "(self, user_id)",
        "get_by_id": "(self, id)",
        "list_by_site": "(self, site_id, user_id=None, tags=None, limit=100)",
        "create": "(self, *, name, site_id, record_type, positive_ids, negative_ids, source=None, tags=None, "
        "provenance_notes=None, is_public=False, user_id=None)",
        "delete": "(self, id)",
    },
}
JSON_COLUMNS = {
    "User": set(),
    "ControlSet": {"positive_ids", "negative_ids", "tags"},
    "ExperimentRow": {"data"},
    "Stream": set(),
    "StreamProjection": {"lost", "plan", "unlogged", "unrooted_steps"},
    "GeneSetRow": {"gene_ids", "parameters", "parent_set_ids"},
    "Operation": set(),
}


def signature(function) -> str:
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([each.replace(annotation=inspect.Parameter.empty) for each in parameters]))


@pytest.mark.parametrize("name", SESSION)
def test_a_session_function_has_its_documented_signature(name):
    function = getattr(session, name)
    assert signature(function) == SESSION[name]
    assert getattr(veupath_store, name) is function


def test_session_functions_are_awaited_or_not_as_documented():
    assert [name for name in SESSION if inspect.iscoroutinefunction(getattr(session, name))] == ["init_db", "close_db"]
    assert [name for name in SESSION if inspect.isasyncgenfunction(getattr(session, name))] == ["get_db_session"]


@pytest.mark.parametrize(("repository", "name"), [(it, name) for it in REPOSITORIES for name in REPOSITORIES[it]])
def test_a_repository_method_has_its_documented_signature(repository, name):
    method = getattr(getattr(repositories_package, repository), name)
    assert signature(method) == REPOSITORIES[repository][name]
    assert inspect.iscoroutinefunction(method) is (name not in ("__init__", "for_user"))


def test_the_public_names_exist_and_are_listed():
    for module in (veupath_store, events, models, repositories_package):
        assert sorted(module.__all__) == sorted(set(module.__all__))
        assert not [name for name in module.__all__ if not hasattr(module, name)]
    assert {repository.__name__ for repository in repositories()} <= set(repositories_package.__all__)
    assert set(models.__all__) == set(JSON_COLUMNS) == {model.__name__ for model in models.__models__}


@pytest.mark.parametrize("name", JSON_COLUMNS)
def test_a_model_has_a_uuid_key_and_jsonb_columns(name):
    model: type[Model] = getattr(models, name)
    columns = model._meta.fields_map
    of_a_stream = ("stream_id", "stream", OneToOneFieldInstance)
    column, key, kind = of_a_stream if name == "StreamProjection" else ("id", "id", fields.UUIDField)
    assert model._meta.db_pk_column == column
    assert isinstance(columns[key], kind)
    assert {column for column, field in columns.items() if isinstance(field, fields.JSONField)} == JSON_COLUMNS[name]
    assert all(isinstance(columns[column], JSONField) for column in JSON_COLUMNS[name])


def test_the_example_of_the_package_is_code():
    tree = ast.parse(inspect.cleandoc(veupath_store.__doc__.partition("In short:\n\n")[2]))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {"session", "user", "stream", "user_id"}
    assert used <= set(veupath_store.__all__)


def test_public_names_are_found_when_they_are_asked_for_and_are_what_type_checkers_see():
    tree = ast.parse(Path(veupath_store.__file__).read_text())
    [checked] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names}
    assert sorted(homes) == sorted(veupath_store.__all__) == sorted(dir(veupath_store))
    for name, home in homes.items():
        assert getattr(veupath_store, name) is getattr(importlib.import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = veupath_store.Nothing


# What every process that uses the repositories pays at each start.
LEFT_FOR_LATER = (
    "aerich",  # only migrations need it
    "fastapi",
    "httpx",
    "pydantic.plugin._loader",  # looks through the metadata of all installed distributions
    "pydantic_settings",  # with argparse and dotenv; only where settings are made
    "redis",
    "rich",
    "typer",
    "veupath_store.config",
    "veupath_store.schema.migrations",
)

_IMPORTED = """
import sys
import veupath_store.repositories
print([name for name in sys.argv[1:] if name in sys.modules])
"""

_BUILT = """
import veupath_store.repositories, veupath_store.values
from pydantic import BaseModel

def below(model):
    for child in model.__subclasses__():
        yield child
        yield from below(child)

ours = {model for model in below(BaseModel) if model.__module__.startswith("veupath_store.")}
assert len(ours) > 25
print(sorted(model.__name__ for model in ours if model.__pydantic_complete__))
"""

_IN_THREADS = """
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4
from veupath_store.values import ExperimentSave, WdkStrategy

threads, saves = 16, []
start = threading.Barrier(threads)

def work(number):
    start.wait()
    save = ExperimentSave(id=uuid4(), user_id=uuid4(), site_id="s", name=str(number), status="done", data={"n": number})
    saves.append((save.name, save.data, WdkStrategy(wdk_strategy_id=number).wdk_strategy_id))

with ThreadPoolExecutor(threads) as pool:
    list(pool.map(work, range(threads)))
print(sorted(saves) == sorted((str(n), '{"n":%d}' % n, n) for n in range(threads)))
"""


def printed(program, *arguments):
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_repositories_import_nothing_that_only_others_need():
    assert printed(_IMPORTED, *LEFT_FOR_LATER) == "[]"
    # It would be seen.
    assert printed(_IMPORTED.replace("repositories", "config"), *LEFT_FOR_LATER) != "[]"


def test_no_validator_is_built_before_the_first_value():
    assert printed(_BUILT) == "[]"


def test_the_first_values_may_be_made_in_several_threads_at_once():
    assert [printed(_IN_THREADS) for _ in range(3)] == ["True"] * 3
