"""The day from the opening of the store to the proof."""

from uuid import UUID

from demo.day import Day
from demo.ledger import Check, Kind, Verdict
from demo.place import Place, is_alone
from demo.proof import check_server, compare_all, reopen
from demo.scenes import SCENES
from demo.show import Show
from demo.timings import Timings
from veupath_store import close_db, init_db
from veupath_store.schema.migrations import migrate

DIFFERENCES_SHOWN = 20


async def play(place: Place, show: Show) -> bool:
    """Play the day.

    Returns:
        Whether the proof holds.
    """
    timings = Timings()
    show.say(f"A working day on {place.description}.", style="bold")
    direct = await timings.of("start the server, connect", place.connect_directly())
    try:
        if not await is_alone(direct):
            show.say("Another demo is running on this database; wait for it to end.", style="bold red")
            return False
        await _open(place, show, timings)
        day = Day(place, show, direct, timings=timings)
        for title, scenes in SCENES:
            show.scene(title)
            for scene in scenes:
                await scene(day)
        return await _prove(day)
    finally:
        await close_db()
        await direct.close(timeout=5)


async def _open(place: Place, show: Show, timings: Timings) -> None:
    applied = await timings.of("migrate", migrate(place.settings))
    await timings.of("open the store", init_db(settings=place.settings))
    migrations = f"applied {len(applied)} migration(s)" if applied else "found the schema at head"
    show.say(
        f"Connected in {timings.last('start the server, connect'):.0f} ms, {migrations} in "
        f"{timings.last('migrate'):.0f} ms, opened the store in {timings.last('open the store'):.0f} ms."
    )


async def _prove(day: Day) -> bool:
    await reopen(day.place)
    verdicts = await compare_all(day.ledger)
    checks = await check_server(day.place, day.direct, _owners(day), day.earlier + _today(day))
    _show_timings(day)
    return _show_proof(day, verdicts, checks)


def _owners(day: Day) -> list[UUID]:
    return [user.id for user in day.people.values()]


def _today(day: Day) -> int:
    return len(day.ledger.rows(Kind.CONVERSATION))


def _show_timings(day: Day) -> None:
    day.show.heading("How long things took")
    day.show.table(("call", "#count", "#median, ms", "#p95, ms"), day.timings.rows())


def _show_proof(day: Day, verdicts: list[Verdict], checks: list[Check]) -> bool:
    day.show.heading("The proof")
    day.show.say(f"The store was reopened; all that {day.ledger.writes} acknowledged writes promised is read back.")
    day.show.table(
        ("rows", "#acknowledged", "#found", "#equal", "holds"),
        [(v.subject, v.acknowledged, v.found, v.equal, v.holds) for v in verdicts],
    )
    kept = sum(1 for promise in day.promises if promise.holds)
    scenes = Check("what the scenes promise", kept == len(day.promises), f"{kept} of {len(day.promises)} kept")
    checks = [*checks, scenes]
    day.show.table(("check", "seen", "holds"), [(check.what, check.detail, check.holds) for check in checks])
    if all(verdict.holds for verdict in verdicts) and all(check.holds for check in checks):
        day.show.say("The proof holds: nothing acknowledged was lost, nothing undone was seen.", style="bold green")
        return True
    differences = [line for verdict in verdicts for line in verdict.differences]
    differences += [f"{check.what}: {check.detail}" for check in (*checks, *day.promises) if not check.holds]
    for line in differences[:DIFFERENCES_SHOWN]:
        day.show.say(line, style="red")
    day.show.say(f"THE PROOF FAILS: {len(differences)} difference(s).", style="bold red")
    return False
