"""Control sets: public ones are found by everybody, and nobody else's rows by anybody."""

from typing import Final

from demo.data import CONTROL_SETS, STRATEGIES, ControlSetFacts
from demo.day import Day
from demo.ledger import Kind
from veupath_store import ControlSetRepository, NotFoundError
from veupath_store.inputs.limits import PAGE
from veupath_store.models import ControlSet

RECORD_TYPE: Final = "transcript"


async def share_control_sets(day: Day) -> None:
    """Create them on the first day, find them by a tag as somebody else, and look for what is hidden."""
    day.show.table(
        ("owner", "site", "control set", "public", "positive", "negative", "today"),
        [await _provide(day, facts) for facts in CONTROL_SETS],
    )
    await _find_as_others(day)
    await _try_as_others(day)


async def _provide(day: Day, facts: ControlSetFacts) -> tuple[object, ...]:
    known = await _own(day, facts)
    stored = known if known is not None else await day.timings.of("create a control set", _create(day, facts))
    enter = day.ledger.remember if known is not None else day.ledger.acknowledge
    enter(
        Kind.CONTROL_SET,
        stored.id,
        user_id=day.people[facts.owner].id,
        name=facts.name,
        site_id=facts.site_id,
        positive_ids=list(facts.positive),
        negative_ids=list(facts.negative),
        tags=list(facts.tags),
        is_public=facts.is_public,
    )
    today = "found" if known is not None else "created"
    genes = (", ".join(facts.positive.values()), ", ".join(facts.negative.values()))
    return facts.owner, facts.site_id, facts.name, facts.is_public, *genes, today


async def _own(day: Day, facts: ControlSetFacts) -> ControlSet | None:
    sets = ControlSetRepository().for_user(day.people[facts.owner].id)
    listed = await day.timings.of("list control sets", sets.list_by_site(facts.site_id, limit=PAGE))
    own = (item for item in listed if item.name == facts.name and item.user_id == day.people[facts.owner].id)
    return next(own, None)


async def _create(day: Day, facts: ControlSetFacts) -> ControlSet:
    sets = ControlSetRepository().for_user(day.people[facts.owner].id)
    return await sets.create(
        name=facts.name,
        site_id=facts.site_id,
        record_type=RECORD_TYPE,
        positive_ids=list(facts.positive),
        negative_ids=list(facts.negative),
        source="curation",
        tags=list(facts.tags),
        is_public=facts.is_public,
    )


async def _find_as_others(day: Day) -> None:
    rows = []
    for who in ("amara", "nadia", "tomas"):
        sets = ControlSetRepository().for_user(day.people[who].id)
        found = await day.timings.of(
            "find control sets by tag", sets.list_by_site("plasmodb", tags=["vaccine", "transmission"])
        )
        ours = [item.name for item in found if item.id in day.ledger.rows(Kind.CONTROL_SET)]
        hidden = [item for item in found if not item.is_public and item.user_id != day.people[who].id]
        day.promise("private control sets are their owner's", not hidden, who)
        rows.append((who, len(ours), "; ".join(ours)))
    day.show.say("Who finds which sets of plasmodb by the tags vaccine or transmission (public ones, and own ones):")
    day.show.table(("who", "#sets", "names"), rows)


async def _try_as_others(day: Day) -> None:
    """A stranger's attempts on a conversation find nothing, whatever they try."""
    theirs, amara = day.strategies[STRATEGIES[0].name], day.people["amara"].id
    streams = day.streams("yuki")
    found: dict[str, object] = {
        "to open it": await streams.get_projection(theirs),
        "to list Amara's sidebar": await streams.list_projections(amara),
        "to delete it": await streams.delete(theirs),
    }
    for what, result in found.items():
        day.promise("a stranger finds nothing", not result, what)
    refusal = "nothing: it was renamed"
    try:
        await streams.update_projection(theirs, name="Mine now")
    except NotFoundError as exc:
        refusal = f"{type(exc).__name__}: {exc}"
    day.promise("a stranger cannot rename", refusal.startswith("NotFoundError"))
    day.show.say(
        f"Yuki tries Amara's conversation: {', '.join(found)} finds nothing; to rename it raises {refusal} "
        "An id that does not exist looks the same."
    )
