"""Which parameter takes what, and what a trial of one value finds.

A new method or parameter needs an entry in the tables here; the tests fail without it.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from tests.support.hostile import (
    FLAG,
    PLAN,
    SHARE,
    UUID_KIND,
    Kind,
    optional,
    text,
    texts,
    whole,
    whole_numbers,
)
from tests.support.public import public_methods
from veupath_store import (
    ConflictError,
    ControlSetRepository,
    InvalidInputError,
    NotFoundError,
    StreamRepository,
    UserRepository,
    limits,
)
from veupath_store.errors import PruneRefusedError
from veupath_store.models import GeneSetRow
from veupath_store.repositories.projection_patch import ProjectionPatch
from veupath_store.repositories.streams import DEFAULT_NAME

# The matrix runs with a smaller limit; a test of its own takes the real one.
GENE_IDS = 1_000
GENE_LIST = texts(GENE_IDS, limits.GENE_ID)
WDK_ID = whole(0, limits.INT64_MAX)
COUNT = whole(0, limits.INT32_MAX)

# What a parameter takes: by "Repository.method.parameter", by "Repository.parameter", or by its name.
KINDS: dict[str, Kind] = {
    "id": UUID_KIND,
    "user_id": UUID_KIND,
    "ControlSetRepository.create.user_id": optional(UUID_KIND),
    "ControlSetRepository.list_by_site.user_id": optional(UUID_KIND),
    "stream_id": UUID_KIND,
    "StreamRepository.create.stream_id": optional(UUID_KIND),
    "experiment_id": UUID_KIND,
    "StreamRepository.create.experiment_id": optional(UUID_KIND),
    "external_id": text(limits.EXTERNAL_ID),
    "UserRepository.create.external_id": optional(text(limits.EXTERNAL_ID)),
    "StreamRepository.site_id": text(limits.STREAM_SITE_ID),
    "StreamRepository.list_projections.site_id": optional(text(limits.STREAM_SITE_ID)),
    "StreamRepository.list_dismissed_projections.site_id": optional(text(limits.STREAM_SITE_ID)),
    "site_id": text(limits.SITE_ID),
    "StreamRepository.create.name": text(limits.NAME, shortest=0),
    "StreamRepository.update_projection.name": optional(text(limits.NAME)),
    "name": text(limits.NAME),
    "StreamRepository.update_projection.record_type": optional(text(limits.RECORD_TYPE)),
    "record_type": text(limits.RECORD_TYPE),
    "positive_ids": GENE_LIST,
    "negative_ids": GENE_LIST,
    "source": optional(text(limits.SOURCE, shortest=0)),
    "tags": optional(texts(limits.TAGS, limits.TAG)),
    "provenance_notes": optional(text(limits.PROVENANCE_NOTES, shortest=0)),
    "is_public": FLAG,
    "limit": whole(1, limits.PAGE),
    "wdk_strategy_id": WDK_ID,
    "StreamRepository.update_projection.wdk_strategy_id": optional(WDK_ID),
    "wdk_strategy_id_set": FLAG,
    "is_saved": optional(FLAG),
    "is_saved_set": FLAG,
    "plan": optional(PLAN),
    "step_count": optional(COUNT),
    "result_count": optional(COUNT),
    "result_count_set": FLAG,
    "gene_set_id": optional(UUID_KIND),
    "gene_set_id_set": FLAG,
    "gene_set_auto_imported": optional(FLAG),
    "live_wdk_ids": whole_numbers(limits.WDK_IDS, limits.INT64_MAX),
    "max_share": SHARE,
    "allow_empty": FLAG,
    "patch": Kind(lambda value: isinstance(value, ProjectionPatch), lambda: [ProjectionPatch(name="Kinases"), {}]),
}

Reader = Callable[[SimpleNamespace, Any], Awaitable[Any]]


async def _user(world: SimpleNamespace, result: Any) -> Any:
    return await UserRepository().get_by_id(result.id)


async def _known_user(world: SimpleNamespace, result: Any) -> Any:
    return SimpleNamespace(user_id=(await _user(world, result)).id)


async def _control_set(world: SimpleNamespace, result: Any) -> Any:
    return await ControlSetRepository().get_by_id(result.id)


async def _new_stream(world: SimpleNamespace, result: Any) -> Any:
    projection = await StreamRepository().get_projection(result.id)
    return SimpleNamespace(
        user_id=projection.user_id,
        site_id=projection.site_id,
        stream_id=projection.stream_id,
        name=projection.name,
        experiment_id=projection.stream.experiment_id,
    )


async def _projection(world: SimpleNamespace, result: Any) -> Any:
    return await StreamRepository().get_projection(world.stream.id)


# How to read back what a method stored; a parameter is found under its own name.
STORING: dict[str, Reader] = {
    "UserRepository.create": _user,
    "UserRepository.get_or_create": _known_user,
    "UserRepository.get_or_create_by_external_id": _user,
    "ControlSetRepository.create": _control_set,
    "StreamRepository.create": _new_stream,
    "StreamRepository.update_projection": _projection,
}
# Methods that store nothing of what they are given but look for it.
LOOKING = {
    "delete", "dismiss", "dismiss_wdk_orphans", "find_by_experiment", "for_user", "get_by_id", "get_by_wdk_strategy_id",
    "get_projection", "list_by_site", "list_dismissed_projections", "list_projections",
    "patch_projection", "prune_wdk_orphans", "restore"
}  # fmt: skip
# What is stored otherwise than it is given: whether that is right.
OTHERWISE: dict[str, Callable[[Any, Any], bool]] = {
    "StreamRepository.create.name": lambda value, stored: stored == value or (value == "" and DEFAULT_NAME in stored),
    "StreamRepository.create.stream_id": lambda value, stored: value is None or stored == UUID(str(value)),
    "ControlSetRepository.create.tags": lambda value, stored: stored == list(value or []),
}
NOT_STORED = {"wdk_strategy_id_set", "is_saved_set", "result_count_set", "gene_set_id_set"}
# For a right value: there is no such row, it is there already, or the guards of pruning refuse.
DOCUMENTED = (NotFoundError, ConflictError, PruneRefusedError)


def kind_of(repository: type, method: str, parameter: str) -> Kind:
    owner = repository.__name__
    for key in (f"{owner}.{method}.{parameter}", f"{owner}.{parameter}", parameter):
        if key in KINDS:
            return KINDS[key]
    raise AssertionError(f"{owner}.{method} has the parameter {parameter!r}: say in KINDS what it takes")


def parameters_of(repository: type, method: str) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(getattr(repository, method)).parameters)
    del found["self"]
    assert all(it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD) for it in found.values())
    return found


async def new_world() -> SimpleNamespace:
    """A user with a conversation, a gene set and a control set; `examples` are right values."""
    user = await UserRepository().create()
    stream = await StreamRepository().create(user.id, "plasmodb", experiment_id=uuid4())
    gene_set = await GeneSetRow.create(user_id=user.id, site_id="plasmodb", name="Kinases")
    control_set = await ControlSetRepository().create(
        name="Kinases", site_id="plasmodb", record_type="transcript", positive_ids=[], negative_ids=[], user_id=user.id
    )
    examples = {
        "user_id": user.id, "stream_id": stream.id, "site_id": "plasmodb", "experiment_id": stream.experiment_id,
        "wdk_strategy_id": 7, "live_wdk_ids": [7], "external_id": f"{user.id}@example.org", "name": "Kinases",
        "record_type": "transcript", "positive_ids": ["G1"], "negative_ids": [], "patch": ProjectionPatch(),
        "gene_set_id": gene_set.id,
    }  # fmt: skip
    keys = {UserRepository: user.id, StreamRepository: stream.id, ControlSetRepository: control_set.id}
    return SimpleNamespace(stream=stream, examples=examples, keys=keys)


def right_arguments(world: SimpleNamespace, repository: type, method: str) -> dict[str, Any]:
    examples = {**world.examples, "id": world.keys.get(repository)}
    found = parameters_of(repository, method)
    return {name: examples[name] for name, it in found.items() if it.default is it.empty}


async def call(target: Any, arguments: dict[str, Any]) -> Any:
    result = target(**arguments)
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

    world: SimpleNamespace
    repository: type
    method: str
    parameter: str

    @property
    def kind(self) -> Kind:
        return kind_of(self.repository, self.method, self.parameter)

    async def fault(self, value: Any, statements: list[str], **made_with: Any) -> str | None:
        """What is wrong with what became of the value; ``None`` when all is well."""
        right = self.kind.accepts(value)
        arguments = {**right_arguments(self.world, self.repository, self.method), self.parameter: value}
        statements.clear()
        try:
            result = await call(getattr(self.repository(**made_with), self.method), arguments)
        except InvalidInputError as exc:
            return f"refused: {exc}" if right else self._bad_refusal(exc, value, statements)
        except DOCUMENTED as exc:
            return None if right else f"answered by {type(exc).__name__}"
        except Exception as exc:  # noqa: BLE001 - whatever else comes is what the test is looking for
            return f"answered by {type(exc).__name__}: {shown(exc)}"
        return await self._loss(value, result) if right else "taken"

    def _bad_refusal(self, error: InvalidInputError, value: Any, statements: list[str]) -> str | None:
        if not names(error.path, self.parameter):
            return f"refused as {error.path[:60]}"
        if isinstance(value, str) and len(value) > 20 and str(value) in str(error):
            return f"shown: {error}"
        return f"refused after {statements[0][:80]}" if statements else None

    async def _loss(self, value: Any, result: Any) -> str | None:
        reader = STORING.get(f"{self.repository.__name__}.{self.method}")
        if reader is None or self.parameter in NOT_STORED or self._changes_nothing(value):
            return None
        stored = getattr(await reader(self.world, result), self.parameter)
        otherwise = OTHERWISE.get(f"{self.repository.__name__}.{self.method}.{self.parameter}")
        same = otherwise(value, stored) if otherwise else stored == self.kind.stored(value)
        return None if same else f"read back as {shown(stored)}"

    def _changes_nothing(self, value: Any) -> bool:
        unset = value is None or (self.parameter == "gene_set_auto_imported" and value is False)
        return self.method == "update_projection" and unset


async def trials(repository: type) -> AsyncIterator[Trial]:
    for method in public_methods(repository):
        world = await new_world()
        for parameter in parameters_of(repository, method):
            yield Trial(world, repository, method, parameter)
