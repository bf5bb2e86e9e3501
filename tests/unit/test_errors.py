"""The error tree: what each error is, what it shows, and that it survives a trip between processes."""

import copy
import inspect
import pickle

import pytest
from tortoise.exceptions import IntegrityError, OperationalError

from veupath_store import errors

EXAMPLES = [
    errors.StoreError("what happened"),
    errors.ConfigurationError("DATABASE_URL is not set."),
    errors.NotFoundError("stream", constraint="stream_projections_stream_fkey"),
    errors.NotFoundError("user"),
    errors.ConflictError("It is there already.", constraint="users_external_id_key"),
    errors.PruneRefusedError(linked=10, orphaned=7),
    errors.StaleVersionError("control set"),
    errors.OperationActiveError(),
    errors.LeaseLostError(),
    errors.InvalidInputError("plan.root.parameters.x", "a number must be finite"),
    errors.UnavailableError("Nothing was saved."),
    errors.StoreClosedError("The store is closed."),
    errors.WriterFullError(1000),
    errors.OutcomeUnknownError("It is not known."),
    errors.UnitOfWorkError("A savepoint is open."),
    errors.SwallowedErrorError(),
    errors.SchemaError("The database is behind."),
    errors.InternalError("The server refused a statement."),
    errors.AdoptionRefusedError(["table users is missing"]),
]
CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.StoreError)]
BASES = {
    "StoreClosedError": errors.UnavailableError,
    "WriterFullError": errors.UnavailableError,
    "PruneRefusedError": errors.ConflictError,
    "StaleVersionError": errors.ConflictError,
    "OperationActiveError": errors.ConflictError,
    "LeaseLostError": errors.ConflictError,
    "SwallowedErrorError": errors.UnitOfWorkError,
}


def seen(error: Exception) -> tuple:
    return type(error), str(error), error.args, vars(error)


def test_every_error_has_an_example_here():
    assert {type(error) for error in EXAMPLES} == set(CLASSES)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_in_the_tree_and_in_the_table_of_the_module(kind):
    if kind is errors.StoreError:
        return
    base = BASES.get(kind.__name__, errors.StoreError)
    assert kind.__mro__[1] is base
    if base is errors.StoreError:
        assert f"`{kind.__name__}`" in errors.__doc__


def test_only_what_tortoise_and_aerich_catch_by_type_is_an_error_of_tortoise():
    integrity = {kind.__name__ for kind in CLASSES if issubclass(kind, IntegrityError)}
    assert integrity == {
        "ConflictError",
        "PruneRefusedError",
        "StaleVersionError",
        "OperationActiveError",
        "LeaseLostError",
    }
    operational = {kind.__name__ for kind in CLASSES if issubclass(kind, OperationalError)}
    assert operational == {*integrity, "SchemaError"}
    assert issubclass(errors.InvalidInputError, ValueError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
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
