"""Units of work: a savepoint around each item, and an error that undoes everything."""

from uuid import UUID, uuid4

from demo.data import STRATEGIES
from demo.day import Day
from veupath_store import ConflictError, Session, StreamRepository, async_session_factory
from veupath_store.models import Stream

_IMPORTED = ("Imported: rhoptry proteins", "Imported: micronemes", "Imported: dense granules", "Imported: kinome")


class InterruptedImportError(Exception):
    """What goes wrong in the unit of work that leaves nothing."""


async def keep_going_after_an_error(day: Day) -> None:
    """An import of several conversations in one unit of work, one of which exists already."""
    taken = day.strategies[STRATEGIES[2].name]
    saved, rows = await day.timings.of("unit of work: 4 items in savepoints", _import(day, taken))
    for stream in saved:
        day.note_new(stream, stream.projection.name)
    day.promise("an error in a savepoint undoes its item only", len(saved) == len(_IMPORTED) - 1, len(saved))
    day.show.say("Tomas imports four conversations in one unit of work; one has an id that exists already.")
    day.show.table(("item", "outcome"), rows)


async def all_or_nothing(day: Day) -> None:
    """The same without savepoints, and with an error at its end."""
    identities = [uuid4() for _ in _IMPORTED]
    try:
        async with async_session_factory() as session:
            await _create_and_fail(session, day.people["tomas"].id, identities)
    except InterruptedImportError:
        for identity in identities:
            day.ledger.renounce(identity)
    there = [await day.streams("tomas").get_by_id(identity) for identity in identities]
    found = sum(1 for stream in there if stream is not None)
    day.promise("a unit of work that raises leaves nothing", found == 0, found)
    day.show.say(f"Another import of {len(identities)} raises at its end: {found} of them are stored.")


async def _import(day: Day, taken: UUID) -> tuple[list[Stream], list[tuple[str, str]]]:
    saved: list[Stream] = []
    rows = []
    async with async_session_factory() as session:
        for number, name in enumerate(_IMPORTED):
            identity = taken if number == 1 else uuid4()
            try:
                async with session.savepoint():
                    saved.append(await _create(session, day.people["tomas"].id, identity, name))
                rows.append((name, "saved"))
            except ConflictError as exc:
                rows.append((name, f"{type(exc).__name__}, undone by itself: {exc}"))
    return saved, rows


async def _create(session: Session, user_id: UUID, identity: UUID, name: str) -> Stream:
    streams = StreamRepository(session).for_user(user_id)
    return await streams.create(user_id, "toxodb", stream_id=identity, name=name)


async def _create_and_fail(session: Session, user_id: UUID, identities: list[UUID]) -> None:
    for identity, name in zip(identities, _IMPORTED, strict=True):
        await _create(session, user_id, identity, name)
    raise InterruptedImportError
