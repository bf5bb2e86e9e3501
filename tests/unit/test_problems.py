"""What each error is to a client: the mapping covers the tree, and shows nothing that it should not."""

import inspect
import sys
from pathlib import Path

import pytest
from tortoise import exceptions as tortoise_errors

from tests.support.processes import run
from tests.unit.test_errors import CLASSES, EXAMPLES
from veupath_store import errors
from veupath_store.integrations.problems import problem_of, safe_traceback

STATUSES = {
    errors.StoreError: 500,
    errors.ConfigurationError: 500,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.PruneRefusedError: 409,
    errors.StaleVersionError: 409,
    errors.OperationActiveError: 409,
    errors.LeaseLostError: 409,
    errors.InvalidInputError: 422,
    errors.UnavailableError: 503,
    errors.StoreClosedError: 503,
    errors.WriterFullError: 503,
    errors.OutcomeUnknownError: 500,
    errors.UnitOfWorkError: 500,
    errors.SwallowedErrorError: 500,
    errors.SchemaError: 500,
    errors.AdoptionRefusedError: 500,
    errors.InternalError: 500,
}
TORTOISE = [
    value
    for value in vars(tortoise_errors).values()
    if inspect.isclass(value) and issubclass(value, tortoise_errors.BaseORMException)
]
SECRET = "postgresql://curator:hunter2@10.0.0.5/store PF3D7_0102600"


def test_every_error_of_the_tree_was_given_a_status():
    assert STATUSES.keys() == set(CLASSES)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_has_its_status_and_a_problem_of_its_own(error):
    problem = problem_of(error)
    assert problem.status == STATUSES[type(error)]
    assert problem.detail
    assert problem.title
    assert (problem.type == "about:blank") is (
        problem.status == 500 and not isinstance(error, errors.OutcomeUnknownError)
    )
    assert ("Retry-After" in problem.headers()) is (problem.status == 503)
    assert problem_of(error) == problem


def test_a_type_has_one_title_and_one_status():
    told = {}
    for error in EXAMPLES:
        problem = problem_of(error)
        assert told.setdefault(problem.type, (problem.title, problem.status)) == (problem.title, problem.status)
    assert {"/problems/not-found", "/problems/stale-version", "/problems/outcome-unknown"} <= told.keys()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_what_an_application_makes_of_an_error_has_the_status_of_its_base(kind):
    own = type("Own", (kind,), {})
    example = next(error for error in EXAMPLES if type(error) is kind)
    error = own.__new__(own, *example.args)
    error.__dict__.update(example.__dict__)
    assert problem_of(error).status == STATUSES[kind]


def test_conflicts_name_their_constraint_and_refusals_their_path():
    conflict = problem_of(errors.ConflictError("It is there already.", constraint="users_external_id_key"))
    assert (conflict.constraint, conflict.path) == ("users_external_id_key", None)
    refused = problem_of(errors.InvalidInputError("plan.root.id", "it is longer than 50 characters"))
    assert (refused.constraint, refused.path) == (None, "plan.root.id")
    assert refused.detail == "it is longer than 50 characters"
    assert problem_of(errors.NotFoundError("gene set", constraint="x_fkey")).detail == "No such gene set."


SERVERS = [errors.UnavailableError, errors.StoreClosedError, errors.OutcomeUnknownError]
OURS = [errors.UnitOfWorkError, errors.SchemaError, errors.ConfigurationError, errors.InternalError, errors.StoreError]


@pytest.mark.parametrize("kind", [*SERVERS, *OURS, RuntimeError, *TORTOISE], ids=lambda kind: kind.__name__)
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
