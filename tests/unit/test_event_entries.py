"""Events and positions as the log keeps them."""

import json
from collections import ChainMap
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veupath_store.errors import InvalidInputError
from veupath_store.events.log.entries import Entry, Event, Position, encode_event, entries_of
from veupath_store.inputs import limits


def data_of(data) -> object:
    return json.loads(encode_event(Event(type="x", data=data), "event")[2])


def refusal(data) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        encode_event(Event(type="x", data=data), "event")
    return caught.value


def test_the_operation_is_a_uuid_or_its_text_or_none():
    operation = uuid4()
    for own in (operation, str(operation), operation.hex, f"{{{operation}}}"):
        assert encode_event(Event(type="x", data={}, operation_id=own), "event")[0] == str(operation)
    assert encode_event(Event(type="x", data={}), "event") == ("", "x", "{}", "")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\ud800\ud800x", "\ufffd\ufffdx"),
        ("\ufeff\ud800", "\ufeff\ufffd"),
        ("😀\ud83d", "😀\ufffd"),
        ("\\u0000 \\ud800", "\\u0000 \\ud800"),
    ],
)
def test_what_no_character_is_is_replaced_wherever_it_stands(text, kept):
    assert data_of({"k": text}) == {"k": kept}
    assert data_of({text: [{text: [text]}]}) == {kept: [{kept: [kept]}]}


def test_other_mappings_are_objects_as_well():
    assert data_of(ChainMap({"a": 1}, {"b": "\0"})) == {"a": 1, "b": "\ufffd"}


def test_what_json_lacks_becomes_what_it_has():
    moment, identity = datetime(2024, 5, 6, tzinfo=UTC), uuid4()
    assert data_of({"at": moment, "ids": [identity], "p": float("nan"), "q": float("-inf")}) == {
        "at": "2024-05-06T00:00:00+00:00",
        "ids": [str(identity)],
        "p": None,
        "q": None,
    }


def test_a_key_is_a_uuid_or_its_text():
    key = uuid4()
    for own in (key, str(key)):
        assert encode_event(Event(type="x", data={}, key=own), "event")[3] == str(key)
    with pytest.raises(InvalidInputError, match=r"event\.key"):
        encode_event(Event(type="x", data={}, key="mine"), "event")


@pytest.mark.parametrize("data", [None, [], "{}", 1, [("a", 1)]])
def test_what_is_no_object_is_refused(data):
    assert str(refusal(data)) == "event.data: a JSON object is needed"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"a": {"b": [1, {1}]}}, "event.data.a.b[1]"),
        ({"a": "\0", "b": object()}, "event.data.b"),
        ({"a": "\0", 1: 2}, "event.data"),
        ({"a": 2**64}, "event.data.a"),
    ],
)
def test_what_is_no_json_is_refused_by_its_place(data, path):
    assert refusal(data).path == path


def test_depth_is_bounded_with_and_without_wrong_characters():
    for leaf in ("x", "\0"):
        deep: object = leaf
        for _ in range(limits.DOCUMENT_DEPTH - 1):
            deep = [deep]
        assert data_of({"a": deep})
        assert "levels deep" in refusal({"a": [deep]}).reason


def test_an_object_that_holds_itself_is_refused_at_once():
    around: list[object] = ["\0"]
    around.extend([around, around])
    assert "levels deep" in refusal({"a": around}).reason


def test_size_is_bounded_in_bytes_as_they_are_kept():
    room = limits.DOCUMENT_BYTES - len('{"a":""}')
    assert data_of({"a": "é" * (room // 2)})
    assert "larger than" in refusal({"a": "é" * (room // 2 + 1)}).reason
    assert "larger than" in refusal({"a": "\0" * (room // 3 + 1)}).reason


def test_entries_without_fields_are_entries():
    assert entries_of([(b"5-1", None), (b"18446744073709551615-0", [])]) == [
        Entry(Position(5, 1), "", b""),
        Entry(Position(2**64 - 1, 0), "", b""),
    ]
    assert entries_of(None) == []


unsigned = st.integers(0, 2**64 - 1)


@given(unsigned, unsigned)
def test_a_position_reads_back_from_its_text(ms, seq):
    position = Position(ms, seq)
    assert Position.parse(str(position)) == position
    assert str(position) == f"{ms}-{seq}"
    assert len(str(position)) <= 41


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
