"""Sign-in: by e-mail, by id, and ten times at once."""

import asyncio
from typing import Any, Final
from uuid import UUID, uuid4

from demo.data import RESEARCHERS, Researcher
from demo.day import Day
from demo.ledger import Kind
from veupath_store import StreamRepository, UserRepository
from veupath_store.inputs.limits import PAGE

SYSTEM_USER: Final = UUID("00000000-0000-4000-8000-000000000001")
"""Who the background jobs work for; a fixed id, in every installation."""

SYSTEM: Final = "system"


async def sign_in(day: Day) -> None:
    """Everybody twice: the second time reads one row and writes nothing."""
    rows = [await _by_email(day, researcher) for researcher in RESEARCHERS]
    rows.append(await _by_id(day, SYSTEM, SYSTEM_USER))
    day.show.table(("who", "signs in by", "user", "#1st, ms", "#2nd, ms", "2nd wrote"), rows)
    await _welcome(day)


async def sign_in_ten_times_at_once(day: Day) -> None:
    """A newcomer with ten impatient browsers is still one user."""
    email = f"visitor-{uuid4().hex[:8]}@example.org"
    users = await asyncio.gather(*(UserRepository().get_or_create_by_external_id(email) for _ in range(10)))
    for user in users:
        day.ledger.acknowledge(Kind.USER, user.id, external_id=email)
    distinct = len({user.id for user in users})
    day.promise("ten sign-ins at once make one user", distinct == 1, distinct)
    day.show.say(f"A visitor's browser signs in 10 times at once: {distinct} user.")


async def _by_email(day: Day, researcher: Researcher) -> tuple[object, ...]:
    users = UserRepository()
    user = await day.timings.of("sign in, first", users.get_or_create_by_external_id(researcher.email))
    before = await _row_version(day, user.id)
    await day.timings.of("sign in, again", users.get_or_create_by_external_id(researcher.email))
    return _entered(day, researcher.key, researcher.email, user, before != await _row_version(day, user.id))


async def _by_id(day: Day, key: str, user_id: UUID) -> tuple[object, ...]:
    users = UserRepository()
    user = await day.timings.of("sign in, first", users.get_or_create(user_id))
    before = await _row_version(day, user.id)
    await day.timings.of("sign in, again", users.get_or_create(str(user_id)))
    return _entered(day, key, "its fixed id", user, before != await _row_version(day, user.id))


def _entered(day: Day, key: str, how: str, user: Any, wrote: bool) -> tuple[object, ...]:  # noqa: ANN401
    day.people[key] = user
    day.promise("a second sign-in writes nothing", not wrote, key)
    day.ledger.acknowledge(Kind.USER, user.id, external_id=user.external_id)
    return key, how, user.id, day.timings.last("sign in, first"), day.timings.last("sign in, again"), wrote


async def _row_version(day: Day, user_id: UUID) -> object:
    """Changes whenever the row is written, even with the same values."""
    return await day.direct.fetchval("SELECT (ctid::text, xmin::text) FROM users WHERE id = $1", user_id)


async def _welcome(day: Day) -> None:
    """What earlier days left: it must all be there, unchanged, in the end."""
    highest = 0
    for user in day.people.values():
        streams = StreamRepository().for_user(user.id)
        summaries = await day.timings.of("list the sidebar", streams.list_projections(user.id, limit=PAGE))
        for summary in [*summaries, *await streams.list_dismissed_projections(user.id, limit=PAGE)]:
            seen = ("name", "site_id", "wdk_strategy_id", "step_count", "updated_at", "dismissed_reason")
            day.ledger.remember(Kind.EARLIER, summary.stream_id, **{name: getattr(summary, name) for name in seen})
            highest = max(highest, summary.wdk_strategy_id or 0)
    day.start_after(highest)
    day.earlier = await day.direct.fetchval(
        "SELECT count(*) FROM stream_projections WHERE user_id = ANY ($1)", [user.id for user in day.people.values()]
    )
    left = f"Welcome back: {day.earlier} conversations from earlier days."
    day.show.say(left if day.earlier else "The first day: no conversations yet.")
