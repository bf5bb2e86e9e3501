"""Prepared querysets: a Tortoise queryset whose SQL is built once.

    BY_LOGIN = Prepared(lambda login: User.filter(external_id=login), login=str)

    user = await BY_LOGIN.first(client, login="ada@example.org")

Building the SQL of a queryset takes longer than PostgreSQL needs to answer it, and the SQL is the same each time but
for its values. So it is built twice, with two sets of sample values: what differs between the two is a value's place,
and where anything else differs the queryset is refused, because its SQL depends on its values (``field__in`` does, on
how many there are; ``field=None`` does, which is ``IS NULL``). After that a call binds its values, sends the text, and
makes instances of the rows (`hydration`).

It depends on nothing that changes: not on a connection, nor a session, nor the time. It is built at the first call,
because a model can make querysets only once Tortoise is initialised.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar, cast
from uuid import UUID

from tortoise.models import Model
from tortoise.queryset import QuerySet

from veupath_store.engine.statements import Statements
from veupath_store.repositories.hydration import instance, instances

M = TypeVar("M", bound=Model)

_SAMPLES: Final[dict[type, Callable[[int], Any]]] = {
    UUID: lambda number: UUID(int=0x7665_7570_6174_6800_0000_0000_0000_0000 + number),
    str: lambda number: f"veupath-store sample {number}",
    int: lambda number: 1_900_000_000 + number,
    datetime: lambda number: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=number),
}
"""For each kind of value, values that no queryset holds by itself."""
_SENT: Final = (str, int, datetime)


def _sent(value: Any) -> Any:  # noqa: ANN401 - of any kind
    """A value as Tortoise hands it over: a UUID as text. asyncpg takes both, and its own kind faster."""
    return str(value) if isinstance(value, UUID) else value


@dataclass(frozen=True, slots=True)
class _Part:
    """The columns of a row that are one model's."""

    model: type[Model]
    begin: int
    end: int
    path: tuple[str, ...]
    """The relations that lead to it; none for the queryset's own model."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was built."""

    sql: str
    constants: tuple[Any, ...]
    """The values of the queryset's own, each in its place; samples in the places of the others."""
    places: tuple[tuple[int, str], ...]
    """Where each of the others stands, and its name."""
    parts: tuple[_Part, ...]

    def bound(self, given: dict[str, Any]) -> list[Any]:
        """The values to send, in their order."""
        values = list(self.constants)
        for place, name in self.places:
            values[place] = given[name]
        return values


class Prepared(Generic[M]):
    """A queryset whose SQL is built once, and run with values.

    Args:
        build: Makes the queryset from the values, which it takes by name. Of what a queryset can do it may use filters,
            ``select_related``, ``order_by`` and ``limit``.
        kinds: What kind of value each is: ``UUID``, ``str``, ``int`` or ``datetime``. A value is never ``None``.

    Raises:
        TypeError: At the first call: the SQL depends on the values, or a value does not reach the server as it is, or
            the queryset uses something else.
    """

    def __init__(self, build: Callable[..., QuerySet[M]], **kinds: type) -> None:
        self._build = build
        self._kinds = kinds
        self._plan: _Plan | None = None

    async def first(self, client: Statements, **values: Any) -> M | None:  # noqa: ANN401 - as its kind says
        """The first row. One statement.

        Args:
            client: A session's, or the pool.
            values: All values, by name.

        Returns:
            An instance, with what ``select_related`` names; ``None`` when there is no row.

        Raises:
            TypeError: A value is missing, or is ``None``.
        """
        found = await self.all(client, **values)
        return found[0] if found else None

    async def all(self, client: Statements, **values: Any) -> list[M]:  # noqa: ANN401
        """All rows. One statement.

        Args:
            client: A session's, or the pool.
            values: All values, by name.

        Returns:
            Instances, in the queryset's order.

        Raises:
            TypeError: A value is missing, or is ``None``.
        """
        plan = self._plan
        if plan is None:
            plan = self._plan = self._made()
        if values.keys() != self._kinds.keys() or None in values.values():
            raise TypeError(f"a value is needed for each of {', '.join(self._kinds)}, and none is None")
        rows = await client.execute_rows(plan.sql, plan.bound(values))
        if not rows:
            return []
        if len(plan.parts) == 1:
            return cast("list[M]", instances(plan.parts[0].model, rows))
        names = [name.rpartition(".")[2] for name in rows[0].keys()]  # noqa: SIM118 - of a record
        return [_instance(plan.parts, names, row) for row in rows]

    def _made(self) -> _Plan:
        first, second = (self._samples(turn) for turn in (0, 1))
        sql, values, parts = self._sql(first)
        other_sql, other_values, _ = self._sql(second)
        names = {_sent(sample): name for name, sample in first.items()}
        found = ((at, names.get(value) if isinstance(value, _SENT) else None) for at, value in enumerate(values))
        plan = _Plan(sql, tuple(values), tuple((at, name) for at, name in found if name is not None), parts)
        missing = self._kinds.keys() - {name for _, name in plan.places}
        if missing or sql != other_sql or [*map(_sent, plan.bound(second))] != list(other_values):
            raise TypeError("the SQL of this queryset depends on its values, or does not hold them as they are")
        return plan

    def _samples(self, turn: int) -> dict[str, Any]:
        count = len(self._kinds)
        return {name: _SAMPLES[kind](turn * count + at) for at, (name, kind) in enumerate(self._kinds.items())}

    def _sql(self, values: dict[str, Any]) -> tuple[str, Sequence[Any], tuple[_Part, ...]]:
        queryset = self._build(**values)
        if queryset._annotations or queryset._prefetch_map or queryset._fields_for_select or queryset._group_bys:
            raise TypeError("only filters, select_related, order_by and limit can be prepared")
        queryset._choose_db_if_not_chosen()
        queryset._make_query()
        sql, bound = queryset.query.get_parameterized_sql()
        return sql, bound, _parts(queryset)


def _parts(queryset: QuerySet[Any]) -> tuple[_Part, ...]:
    parts, begin = [], 0
    for model, width, _, _, path in queryset._select_related_idx:
        parts.append(_Part(model, begin, begin + width, tuple(name for name in path if name is not None)))
        begin += width
    return tuple(parts)


def _instance(parts: tuple[_Part, ...], names: list[str], row: Any) -> Any:  # noqa: ANN401 - an asyncpg record
    """The instance of a row, with the related ones that the row holds, as Tortoise's own executor makes it."""
    made: dict[tuple[str, ...], Model | None] = {}
    for part in parts:
        values = row[part.begin : part.end]
        absent = part.path and not any(value is not None for value in values)  # the row of an outer join
        columns = zip(names[part.begin : part.end], values, strict=True)
        one = made[part.path] = None if absent else instance(part.model, columns)
        if part.path:
            owner = made[part.path[:-1]]
            if owner is not None:
                object.__setattr__(owner, f"_{part.path[-1]}", one)
    return made[()]


class PreparedFor(Generic[M]):
    """Two prepared querysets: of everybody's rows, and of one user's.

    Args:
        build: Makes the queryset from the owner, who is ``None`` for everybody's, and the values.
        kinds: As for `Prepared`.
    """

    def __init__(self, build: Callable[..., QuerySet[M]], **kinds: type) -> None:
        self._everybodys = Prepared[M](lambda **values: build(None, **values), **kinds)
        self._owners = Prepared[M](build, owner=UUID, **kinds)

    async def first(self, client: Statements, owner: UUID | None, **values: Any) -> M | None:  # noqa: ANN401
        """As `Prepared.first`, restricted to an owner unless that is ``None``."""
        if owner is None:
            return await self._everybodys.first(client, **values)
        return await self._owners.first(client, owner=owner, **values)
