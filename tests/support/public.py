"""What the repositories offer, found by looking, so that nothing new escapes the tests."""

import inspect

from veupath_store import repositories as package


def repositories() -> list[type]:
    """Every public repository class."""
    return [getattr(package, name) for name in package.__all__ if name.endswith("Repository")]


def owned_repositories() -> list[type]:
    """Those that request code gets, restricted to a user; workers have the others."""
    return [repository for repository in repositories() if hasattr(repository, "for_user")]


def public_methods(repository: type) -> list[str]:
    """The names of its public methods, inherited ones included."""
    return sorted(name for name, _ in inspect.getmembers(repository, inspect.isroutine) if not name.startswith("_"))
