"""Positions: two integers, in the order of the log, with a time of their own."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veupath_store.errors import InvalidInputError
from veupath_store.events.log.entries import Position

unsigned = st.integers(0, 2**64 - 1)


@given(unsigned, unsigned)
def test_a_position_reads_back_from_its_text(ms, seq):
    position = Position(ms, seq)
    assert Position.parse(str(position)) == position
    assert str(position) == f"{ms}-{seq}"
    assert len(str(position)) <= 41


def test_positions_are_ordered_as_integers_not_as_text():
    texts = ["10-1", "9-10", "9-9", "100-0"]
    assert [str(position) for position in sorted(map(Position.parse, texts))] == ["9-9", "9-10", "10-1", "100-0"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "1", "1-", "-1", "1-1-1", "1 -1", "1-1\n", "+1-1", "0x1-1", "1_0-1", "$", "*", "1-*"),
        *("\u0661-1", "\uff11-1", f"{2**64}-0", f"0-{2**64}", "000000000000000000001-1"),
        *(None, 1, b"1-1", ("1", "1")),
    ],
)
def test_what_is_no_position_is_refused(text):
    with pytest.raises(InvalidInputError) as refusal:
        Position.parse(text)
    assert refusal.value.path == "position"


def test_the_time_of_a_position_is_exact_and_aware():
    assert Position(1700000000001, 5).time == datetime(2023, 11, 14, 22, 13, 20, 1000, tzinfo=UTC)
    assert Position(0, 1).time == datetime(1970, 1, 1, tzinfo=UTC)


@given(unsigned)
def test_every_position_has_a_time(ms):
    assert datetime(1970, 1, 1, tzinfo=UTC) <= Position(ms, 0).time <= datetime.max.replace(tzinfo=UTC)


def test_the_time_ends_with_the_year_9999():
    assert Position(2**64 - 1, 0).time == datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
