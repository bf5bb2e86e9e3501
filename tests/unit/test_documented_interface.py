"""The names and signatures that users rely on."""

import ast
import importlib
import inspect
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
