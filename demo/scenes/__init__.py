"""The scenes of the day, in their order."""

from collections.abc import Awaitable, Callable
from typing import Final

from demo.day import Day
from demo.scenes.chats import chat_about_a_strategy, throw_the_rows_away
from demo.scenes.closing import close_with_work_in_flight
from demo.scenes.control_sets import share_control_sets
from demo.scenes.evening import look_at_the_sidebar
from demo.scenes.housekeeping import rename_dismiss_restore, tidy_up
from demo.scenes.sign_in import sign_in, sign_in_ten_times_at_once
from demo.scenes.strategies import grow_strategies, hand_over
from demo.scenes.tabs import open_twenty_tabs
from demo.scenes.units_of_work import all_or_nothing, keep_going_after_an_error
from demo.scenes.worker import work_through_cuts

SCENES: Final[tuple[tuple[str, tuple[Callable[[Day], Awaitable[None]], ...]], ...]] = (
    ("Everybody signs in", (sign_in, sign_in_ten_times_at_once)),
    ("Twenty tabs at once", (open_twenty_tabs,)),
    ("Strategies grow, step by step", (grow_strategies, hand_over)),
    ("Units of work: keep a part, or keep nothing", (keep_going_after_an_error, all_or_nothing)),
    ("Control sets: what is shared, and what is not", (share_control_sets,)),
    ("Renames, dismissals, and a careful pruning", (rename_dismiss_restore, tidy_up)),
    ("A chat, and rows that are thrown away", (chat_about_a_strategy, throw_the_rows_away)),
    ("A worker whose connections are cut", (work_through_cuts,)),
    ("Closing with work in flight", (close_with_work_in_flight,)),
    ("Evening: what is stored", (look_at_the_sidebar,)),
)
"""Title, and what happens."""
