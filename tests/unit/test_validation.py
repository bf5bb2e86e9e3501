"""The checks at the door."""

import sys
from functools import partial
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile import MALFORMED_UUIDS, OldSite, Site, Word
from veupath_store import InvalidInputError
from veupath_store.inputs import validation

NAN, INFINITY = float("nan"), float("inf")
SHORT = partial(validation.text, longest=3)
DIGIT = partial(validation.integer, lowest=0, highest=9)
DIGITS = partial(validation.integers, most=2, highest=9)
LIST = partial(validation.texts, most=10, longest=5)


def outcome(check, *arguments) -> object:
    try:
        return check(*arguments)
    except InvalidInputError as exc:
        return str(exc)


@pytest.mark.parametrize(
    ("says", "check", "wrong"),
    [
        ("x: a UUID, or its text, is needed", validation.as_uuid, MALFORMED_UUIDS),
        ("x: text is needed", SHORT, [7, None, b"x", UUID(int=0)]),
        ("x: it must not be empty", SHORT, [""]),
        ("x: it must not be longer than 3 characters", SHORT, ["😀" * 4, Word("a long word")]),
        ("x: a whole number is needed", DIGIT, [True, 1.0, "1", None, NAN]),
        ("x: it must be from 0 to 9", DIGIT, [-1, 10, 4711]),
        (
            "limit: a whole number is needed",
            lambda value, path: validation.page_size(value),
            [True, 1.0, "1", None, NAN],
        ),
        ("x: true or false is needed", validation.boolean, [1, 0, "true", None, []]),
        ("x: a number from 0 to 1 is needed", validation.share, [True, "0.5", None, NAN, INFINITY, -0.1, 1.1, 10**400]),
        ("x[2]: it must not be empty", LIST, [["a", "b", ""]]),
        ("x[1]: it must not be longer than 5 characters", LIST, [["a", "bcdefg"]]),
        ("x[1]: it contains the character U+0000", LIST, [["a", "b\0"]]),
        ("x[0]: it contains a lone surrogate, which is no character", LIST, [["\ud83d", "\ude00"]]),
        ("x[1]: text is needed", LIST, [["a", 7], ["a", None]]),
        ("x: it must not have more than 10 items", LIST, [["a"] * 11]),
        ("x: a list is needed", LIST, ["abc", b"abc", (item for item in "abc"), None]),
        ("x: a list is needed: a set has no order", LIST, [{"a"}]),
        ("x[1]: a whole number is needed", DIGITS, [[1, True]]),
        ("x[1]: it must be from 0 to 9", DIGITS, [[1, 10]]),
        ("x: it must be from 0 to 9", DIGITS, [{10}]),
        ("x: it must not have more than 2 items", DIGITS, [range(3), set(range(3))]),
    ],
)
def test_a_refusal_names_the_argument_and_what_is_needed_and_never_shows_the_value(says, check, wrong):
    assert [outcome(check, value, "x") for value in wrong] == [says] * len(wrong)


@given(st.uuids())
def test_a_uuid_is_itself(identity):
    assert validation.as_uuid(identity, "id") is identity
    assert (
        validation.as_uuid(str(identity), "id") == validation.as_optional_uuid(identity.hex.upper(), "id") == identity
    )


@given(st.text(st.sampled_from("0123456789abcdefABCDEFxX_-+ {}u:rnid\n\u0661"), max_size=48))
def test_no_text_means_a_uuid_that_would_be_written_otherwise(spelling):
    try:
        read = validation.as_uuid(spelling, "id")
    except InvalidInputError:
        return
    bare = spelling.removeprefix("urn:uuid:").removeprefix("{").removesuffix("}").lower()
    assert bare in (str(read), read.hex)


@pytest.mark.parametrize(
    ("given_text", "plain"),
    [
        ("😀" * 9, "😀" * 9),
        ("  e\u0301\n", "  e\u0301\n"),
        ("", ""),
        (Word("abc"), "abc"),
        (Site.PLASMODB, "plasmodb, a StrEnum"),
        (OldSite.TOXODB, "toxodb, an Enum"),
    ],
)
def test_text_is_kept_as_it_is_and_a_subclass_of_str_becomes_plain_text(given_text, plain):
    result = validation.text(given_text, "name", max(len(plain), 1), shortest=0)
    assert type(result) is str
    assert result == plain


@given(
    st.lists(
        st.text(st.characters() | st.sampled_from("\0\ud800\udfff"), max_size=7) | st.builds(Word, st.text(max_size=7)),
        max_size=12,
    )
)
def test_many_texts_at_once_are_judged_as_one_by_one(items):
    def one_by_one() -> list[str]:
        return [validation.text(item, f"ids[{index}]", 5) for index, item in enumerate(items)]

    assert outcome(one_by_one) == outcome(lambda: validation.texts(items, "ids", most=20, longest=5))


def test_the_callers_list_is_not_kept():
    mine = ["a"]
    checked = validation.texts(mine, "ids", most=5, longest=5)
    mine.append("\0")
    assert checked == ["a"]


@pytest.mark.parametrize("numbers", [[1, 2], (1, 2), {1, 2}, frozenset((1, 2)), {1: "", 2: ""}.keys(), range(1, 3)])
def test_whole_numbers_come_from_lists_tuples_and_sets(numbers):
    assert sorted(DIGITS(numbers, "ids")) == [1, 2]


def test_a_share_is_kept_as_a_float():
    assert [validation.share(value, "s") for value in (0, 1, 0.25)] == [0.0, 1.0, 0.25]


def test_white_space_is_what_python_takes_for_it_and_the_byte_order_mark():
    spaces = {chr(number) for number in range(sys.maxunicode + 1) if chr(number).isspace()}
    assert set(validation.SPACE) == spaces | {"\ufeff"}


@pytest.mark.parametrize("wrong", ["\ufeff " * 100_000, " " * 200_000])
def test_a_hostile_amount_of_white_space_takes_no_time(wrong):
    assert validation.tidied(wrong) == ""
    assert validation.ids_of_genes([f"{wrong}x", "y"], "ids", most=2) == ["x", "y"]
