"""One researcher, twenty tabs, one wanted name."""

import asyncio
from typing import Final

from demo.data import TAB_NAME
from demo.day import Day

TABS: Final = 20


async def open_twenty_tabs(day: Day) -> None:
    """All of them ask for the same name at the same moment, and every one gets a name of its own."""
    kind = f"create a conversation, {TABS} tabs at once"
    streams = await asyncio.gather(*(day.converse("amara", "plasmodb", TAB_NAME, kind) for _ in range(TABS)))
    names = sorted((stream.projection.name for stream in streams), key=lambda name: (len(name), name))
    day.promise("tabs get distinct names", len(set(names)) == TABS, len(set(names)))
    day.show.say(f'Amara restores {TABS} tabs; each one creates the conversation "{TAB_NAME}".')
    day.show.table(
        ("#tabs", "#names", "the first", "the last"),
        [(len(streams), len(set(names)), names[0], names[-1])],
    )
