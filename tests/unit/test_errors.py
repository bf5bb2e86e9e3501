"""The error tree: what each error is, what clients and logs see of it, and that it survives between processes."""

import copy
import inspect
import pickle
import sys
from pathlib import Path

import pytest
from tortoise import exceptions as tortoise_errors
from tortoise.exceptions import IntegrityError, OperationalError

from tests.support.processes import run
from veupath_store import errors
from veupath_store.integrations.problems import problem_of, safe_traceback

TREE = {
    errors.StoreError("what happened"): (Exception, 500),
    errors.ConfigurationError("DATABASE_URL is not set."): (errors.StoreError, 500),
    errors.NotFoundError("stream", constraint="stream_projections_stream_fkey"): (errors.StoreError, 404),
    errors.NotFoundError("user"): (errors.StoreError, 404),
    errors.ConflictError("It is there already.", constraint="users_external_id_key"): (errors.StoreError, 409),
    errors.PruneRefusedError(linked=10, orphaned=7): (errors.ConflictError, 409),
    errors.StaleVersionError("control set"): (errors.ConflictError, 409),
    errors.OperationActiveError(): (errors.ConflictError, 409),
    errors.LeaseLostError(): (errors.ConflictError, 409),
    errors.InvalidInputError("plan.root.parameters.x", "a number must be finite"): (errors.StoreError, 422),
    errors.UnavailableError("Nothing was saved."): (errors.StoreError, 503),
    errors.StoreClosedError("The store is closed."): (errors.UnavailableError, 503),
    errors.WriterFullError(1000): (errors.UnavailableError, 503),
    errors.OutcomeUnknownError("It is not known."): (errors.StoreError, 500),
    errors.UnitOfWorkError("A savepoint is open."): (errors.StoreError, 500),
    errors.SwallowedErrorError(): (errors.UnitOfWorkError, 500),
    errors.SchemaError("The database is behind."): (errors.StoreError, 500),
    errors.InternalError("The server refused a statement."): (errors.StoreError, 500),
    errors.AdoptionRefusedError(["table users is missing"]): (errors.StoreError, 500),
}
"""An example of each error, its base, and the status that clients see."""
CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.StoreError)]
TORTOISE = [
    value
    for value in vars(tortoise_errors).values()
    if inspect.isclass(value) and issubclass(value, tortoise_errors.BaseORMException)
]
SECRET = "postgresql://curator:hunter2@10.0.0.5/store PF3D7_0102600"


def named(error: object) -> str:
    return getattr(error, "__name__", type(error).__name__)


def seen(error: Exception) -> tuple:
    return type(error), str(error), error.args, vars(error)


def test_every_error_has_an_example_here():
    assert {type(error) for error in TREE} == set(CLASSES)


@pytest.mark.parametrize(("error", "place"), TREE.items(), ids=named)
def test_every_error_is_in_the_tree_and_in_the_table_of_the_module(error, place):
    kind, base = type(error), place[0]
    assert kind.__mro__[1] is base
    if base is errors.StoreError:
        assert f"`{kind.__name__}`" in errors.__doc__


def test_only_what_tortoise_and_aerich_catch_by_type_is_an_error_of_tortoise():
    integrity = {kind.__name__ for kind in CLASSES if issubclass(kind, IntegrityError)}
    conflicts = ("ConflictError", "PruneRefusedError", "StaleVersionError", "OperationActiveError", "LeaseLostError")
    assert integrity == {*conflicts}
    operational = {kind.__name__ for kind in CLASSES if issubclass(kind, OperationalError)}
    assert operational == {*integrity, "SchemaError"}
    assert issubclass(errors.InvalidInputError, ValueError)


@pytest.mark.parametrize("error", TREE, ids=named)
def test_an_error_survives_copy_and_pickle(error):
    error.add_note("while the list was synchronised")
    copies = [copy.copy(error), copy.deepcopy(error)]
    copies += [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    assert [seen(made) for made in copies] == [seen(error)] * len(copies)


def test_a_path_shows_no_control_characters_and_is_cut():
    error = errors.InvalidInputError(
        "plan.a\r\nb\x1b[0m\u202e\ud800." + "x" * 10_000, "it contains the character U+0000"
    )
    assert error.path.startswith("plan.a??b?[0m??.xxx")
    assert len(error.path) == 200
    str(error).encode()


def test_pruning_says_what_it_would_have_done_and_what_to_call():
    error = errors.PruneRefusedError(linked=10, orphaned=7)
    assert "7 of 10" in str(error)
    assert "max_share" in str(error)
    assert error.constraint is None


# What clients see of them.


@pytest.mark.parametrize(("error", "place"), TREE.items(), ids=named)
def test_an_error_and_what_an_application_makes_of_it_have_its_status_and_a_problem(error, place):
    problem = problem_of(error)
    assert problem.status == place[1]
    assert problem.detail
    assert problem.title
    assert (problem.type == "about:blank") is (
        problem.status == 500 and not isinstance(error, errors.OutcomeUnknownError)
    )
    assert ("Retry-After" in problem.headers()) is (problem.status == 503)
    assert problem_of(error) == problem
    kind = type("Own", (type(error),), {})
    own = kind.__new__(kind, *error.args)
    own.__dict__.update(error.__dict__)
    assert problem_of(own).status == problem.status


def test_a_type_has_one_title_and_one_status():
    told = {}
    for error in TREE:
        problem = problem_of(error)
        assert told.setdefault(problem.type, (problem.title, problem.status)) == (problem.title, problem.status)
    assert {"/problems/not-found", "/problems/stale-version", "/problems/outcome-unknown"} <= told.keys()


def test_conflicts_name_their_constraint_and_refusals_their_path():
    conflict = problem_of(errors.ConflictError("It is there already.", constraint="users_external_id_key"))
    assert (conflict.constraint, conflict.path) == ("users_external_id_key", None)
    refused = problem_of(errors.InvalidInputError("plan.root.id", "it is longer than 50 characters"))
    assert (refused.constraint, refused.path) == (None, "plan.root.id")
    assert refused.detail == "it is longer than 50 characters"
    assert problem_of(errors.NotFoundError("gene set", constraint="x_fkey")).detail == "No such gene set."


SERVERS = [errors.UnavailableError, errors.StoreClosedError, errors.OutcomeUnknownError]
OURS = [errors.UnitOfWorkError, errors.SchemaError, errors.ConfigurationError, errors.InternalError, errors.StoreError]


@pytest.mark.parametrize("kind", [*SERVERS, *OURS, RuntimeError, *TORTOISE], ids=named)
def test_a_failure_says_nothing_of_what_it_knows(kind):
    error = kind(tortoise_errors.DoesNotExist, SECRET) if kind.__name__ == "NotExistOrMultiple" else None
    if error is None:
        error = kind.__new__(kind, SECRET)
        error.args = (SECRET,)
    shown = problem_of(error).model_dump_json()
    assert "hunter2" not in shown
    assert "PF3D7" not in shown
    assert "10.0.0.5" not in shown
    not_found = (tortoise_errors.DoesNotExist, tortoise_errors.ObjectDoesNotExistError)
    if kind in TORTOISE:
        assert problem_of(error).status == (404 if issubclass(kind, not_found) else 500)


def failing(outer):
    try:
        try:
            raise KeyError(SECRET)
        except KeyError:
            raise LookupError(SECRET)  # noqa: B904 - the context is what is looked at
    except LookupError as exc:
        raise outer from exc


def test_a_traceback_shows_every_place_and_only_the_messages_of_the_store():
    with pytest.raises(errors.InternalError) as caught:
        failing(errors.InternalError("The server refused a statement."))
    shown = safe_traceback(caught.value)
    assert SECRET not in shown
    lines = shown.splitlines()
    assert lines[-1] == "veupath_store.errors.InternalError: The server refused a statement."
    assert "builtins.KeyError" in lines
    assert "builtins.LookupError" in lines
    assert lines.index("builtins.KeyError") < lines.index("builtins.LookupError")
    assert shown.count("in failing") == 3
    assert shown.count("Traceback (most recent call last):") == 3
    assert shown.count("direct cause") == shown.count("During handling") == 1


def test_a_traceback_of_errors_that_cause_each_other_ends():
    first, second = errors.StoreError("first"), errors.StoreError("second")
    first.__cause__, second.__cause__ = second, first
    assert safe_traceback(first).count("StoreError") == 2


ALONE = """
import sys
import veupath_store
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"fastapi", "starlette", "redis", "typer", "rich"}))
import veupath_store.integrations.problems
print("starlette" in sys.modules)
sys.modules["fastapi"] = None
try:
    import veupath_store.integrations.fastapi
except ImportError as exc:
    print(exc)
"""


async def test_the_store_imports_no_framework_and_says_what_to_install(tmp_path: Path):
    finished = await run(sys.executable, "-W", "error", "-c", ALONE, cwd=tmp_path)
    assert finished.code == 0, finished
    alone, starlette, refused = finished.out.splitlines()
    assert alone == "[]"
    assert starlette == "False"
    assert "pip install 'veupath-store[fastapi]'" in refused
