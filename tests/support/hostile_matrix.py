"""What a trial of one value for one parameter finds: refused by name before any SQL, or kept, and nothing else."""

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from tests.support.cases import CASES, everything
from tests.support.hostile_kinds import Kind, optional
from tests.support.hostile_readers import CALLED, NOT_STORED, OTHERWISE, STORING
from tests.support.hostile_tables import KINDS
from tests.support.public import public_methods
from tests.support.world import World, make_world
from veupath_store import ConflictError, InvalidInputError, NotFoundError, UserRepository, async_session_factory
from veupath_store.values import ProjectionSort

# Optional parameters that are given all the same: the others then have more right values.
GIVEN: dict[str, tuple[str, ...]] = {
    "StreamRepository.page_projections": ("site_id",),
    "OperationRepository.register": ("stream_id",),
    "OperationRepository.start": ("stream_id",),
}
# Further arguments of a call, for a second round of trials of one parameter, and what that takes.
MORE: dict[str, tuple[dict[str, Any], str]] = {
    "StreamRepository.page_projections.cursor": ({"sort": ProjectionSort.NAME}, "by_name")
}
# What a call uses up, made anew for each right value: some id, or all of a world.
FRESH: dict[str, str | None] = {
    "StreamRepository.ensure": "stream",
    "StreamRepository.get_or_create_for_experiment": "subject",
    **dict.fromkeys(("ExperimentRepository.save", "ExperimentRepository.write"), "experiment"),
    **dict.fromkeys(("GeneSetRepository.save", "GeneSetRepository.write"), "gene_set"),
    "GeneSetRepository.import_for_stream": None,
    "AccountRepository.purge": None,
    "OperationRepository.register": None,
    "OperationRepository.start": None,
    **{
        f"LeaseRepository.{method}": None
        for method in ("assert_lease", "cancel", "claim", "complete", "fail", "get_outcome", "heartbeat", "release")
    },
}

# For a right value: there is no such row, or what is stored forbids it (taken, stale, lost, guarded, active already).
DOCUMENTED = (NotFoundError, ConflictError)


def kind_of(repository: type, method: str, parameter: str) -> Kind:
    owner, is_optional = repository.__name__, parameters_of(repository, method)[parameter].default is None
    for key in (f"{owner}.{method}.{parameter}", f"{owner}.{parameter}", parameter):
        if key in KINDS:
            return optional(KINDS[key]) if is_optional else KINDS[key]
    raise AssertionError(f"{owner}.{method} has the parameter {parameter!r}: say in TAKEN what it takes")


def parameters_of(repository: type, method: str) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(getattr(repository, method)).parameters)
    del found["self"]
    assert all(it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD) for it in found.values())
    return found


def arguments_of(world: World, repository: type, method: str) -> dict[str, Any]:
    """What the case of a method calls it with."""
    positional, named = CASES[repository][method].arguments(world)
    given = inspect.signature(getattr(repository, method)).bind(None, *positional, **named).arguments
    del given["self"]
    return given


async def right_arguments(world: World, repository: type, method: str, *, fresh: bool = True) -> dict[str, Any]:
    """The needed arguments of a method; with what a call uses up made anew, or not."""
    key = f"{repository.__name__}.{method}"
    if fresh and key in FRESH:
        used_up = FRESH[key]
        world = replace(world, **{used_up: uuid4()}) if used_up else await make_world()
    right = {"user_id": world.owner} if method == "for_user" else arguments_of(world, repository, method)
    given = GIVEN.get(key, ())
    found = parameters_of(repository, method)
    return {name: right[name] for name, it in found.items() if it.default is it.empty or name in given}


@asynccontextmanager
async def bound(repository: type, method: str, **made_with: Any) -> AsyncIterator[Any]:
    """The method of a new repository; in a unit of work of its own where it makes sense in one only."""
    if method == "assert_lease" and not made_with:
        async with async_session_factory() as session:
            yield getattr(repository(session), method)
        return
    yield getattr(repository(**made_with), method)


async def call(target: Any, arguments: dict[str, Any]) -> Any:
    result = target(**arguments)
    if hasattr(result, "__aiter__"):
        return await everything(result)
    return await result if inspect.isawaitable(result) else result


def shown(value: object) -> str:
    try:
        return ascii(value)[:60]
    except RuntimeError:
        return f"a {type(value).__name__}"


def names(path: str, parameter: str) -> bool:
    return path == parameter or path.startswith((f"{parameter}[", f"{parameter}.", f"{parameter} ("))


@dataclass(frozen=True)
class Trial:
    """One value for one parameter of one method."""

    world: World
    repository: type
    method: str
    parameter: str
    more: dict[str, Any] = field(default_factory=dict)
    kind_name: str | None = None

    @property
    def name(self) -> str:
        return f"{self.repository.__name__}.{self.method}"

    @property
    def kind(self) -> Kind:
        return KINDS[self.kind_name] if self.kind_name else kind_of(self.repository, self.method, self.parameter)

    async def arguments(self, value: Any, right: bool) -> dict[str, Any]:
        arguments = await right_arguments(self.world, self.repository, self.method, fresh=right)
        return {**arguments, **self.more, self.parameter: value}

    async def fault(self, value: Any, statements: list[str], **made_with: Any) -> str | None:
        """What is wrong with what became of the value; ``None`` when all is well."""
        right = self.kind.accepts(value)
        arguments = await self.arguments(value, right)
        try:
            async with bound(self.repository, self.method, **made_with) as method:
                statements.clear()
                result = await call(method, arguments)
        except InvalidInputError as exc:
            return f"refused: {exc}" if right else self._bad_refusal(exc, value, statements)
        except DOCUMENTED as exc:
            return None if right else f"answered by {type(exc).__name__}"
        except Exception as exc:  # noqa: BLE001 - whatever else comes is what the test is looking for
            return f"answered by {type(exc).__name__}: {shown(exc)}"
        return await self._loss(arguments, result) if right else "taken"

    def _bad_refusal(self, error: InvalidInputError, value: Any, statements: list[str]) -> str | None:
        if not names(error.path, CALLED.get(f"{self.name}.{self.parameter}", self.parameter)):
            return f"refused as {error.path[:60]}"
        if isinstance(value, str) and len(value) > 20 and str(value) in str(error):
            return f"shown: {error}"
        return f"refused after {statements[0][:80]}" if statements else None

    async def _loss(self, arguments: dict[str, Any], result: Any) -> str | None:
        reader, value = STORING.get(self.name), arguments[self.parameter]
        place = f"{self.name}.{self.parameter}"
        if reader is None or {self.parameter, place} & NOT_STORED or self._changes_nothing(value):
            return None
        stored = getattr(await reader(arguments, result), self.parameter)
        otherwise = OTHERWISE.get(place)
        same = otherwise(value, stored) if otherwise else stored == self.kind.stored(value)
        return None if same else f"read back as {shown(stored)}"

    def _changes_nothing(self, value: Any) -> bool:
        unset = value is None or (self.parameter == "gene_set_auto_imported" and value is False)
        return self.method == "update_projection" and unset


async def trials(repository: type) -> AsyncIterator[Trial]:
    for method in public_methods(repository):
        world = await make_world()
        for parameter in parameters_of(repository, method):
            yield Trial(world, repository, method, parameter)
            if more := MORE.get(f"{repository.__name__}.{method}.{parameter}"):
                yield Trial(world, repository, method, parameter, *more)
        # Its ids are free again: another method finds neither them nor their owner.
        await UserRepository().delete(world.owner)
