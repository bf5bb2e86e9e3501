"""What the repositories offer, found by looking, so that nothing new escapes the tests."""

import inspect

from veupath_store import repositories as package
from veupath_store.repositories.base import Repository


def repositories() -> list[type[Repository]]:
    """Every public repository class."""
    classes = [value for value in vars(package).values() if inspect.isclass(value) and issubclass(value, Repository)]
    return sorted(classes, key=lambda repository: repository.__name__)


def public_methods(repository: type[Repository]) -> list[str]:
    """The names of its public methods, inherited ones included."""
    return sorted(name for name, _ in inspect.getmembers(repository, inspect.isroutine) if not name.startswith("_"))
