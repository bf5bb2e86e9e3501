"""The checks at the door."""

import sys
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile import MALFORMED_UUIDS, UUIDS, OldSite, Site, Word
from veupath_store import InvalidInputError
from veupath_store.inputs import validation
from veupath_store.inputs.validation import (
    as_optional_uuid,
    as_uuid,
    boolean,
    integer,
    integers,
    page_size,
    share,
    text,
    texts,
)


def refusal(check, *arguments, **options) -> str:
    with pytest.raises(InvalidInputError) as caught:
        check(*arguments, **options)
    return str(caught.value)


def outcome(check) -> object:
    try:
        return check()
    except InvalidInputError as exc:
        return str(exc)


@pytest.mark.parametrize("spelling", UUIDS)
def test_every_usual_spelling_of_a_uuid_is_read(spelling):
    assert as_uuid(spelling, "id") == UUID(spelling)


@pytest.mark.parametrize("spelling", MALFORMED_UUIDS)
def test_other_spellings_are_refused(spelling):
    assert refusal(as_uuid, spelling, "id") == "id: a UUID, or its text, is needed"


@given(st.uuids())
def test_a_uuid_is_itself(identity):
    assert as_uuid(identity, "id") is identity
    assert as_uuid(str(identity), "id") == as_optional_uuid(identity.hex.upper(), "id") == identity


@given(st.text(st.sampled_from("0123456789abcdefABCDEFxX_-+ {}u:rnid\n\u0661"), max_size=48))
def test_no_text_means_a_uuid_that_would_be_written_otherwise(spelling):
    try:
        read = as_uuid(spelling, "id")
    except InvalidInputError:
        return
    bare = spelling.removeprefix("urn:uuid:").removeprefix("{").removesuffix("}").lower()
    assert bare in (str(read), read.hex)


def test_text_is_measured_in_characters_and_kept_as_it_is():
    assert text("😀" * 3, "name", 3) == "😀" * 3
    assert text("  e\u0301\n", "name", 9) == "  e\u0301\n"
    assert refusal(text, "😀" * 4, "name", 3) == "name: it must not be longer than 3 characters"
    assert refusal(text, "", "name", 3) == "name: it must not be empty"
    assert text("", "name", 3, shortest=0) == ""


@pytest.mark.parametrize(
    ("given_text", "plain"),
    [(Word("abc"), "abc"), (Site.PLASMODB, "plasmodb, a StrEnum"), (OldSite.TOXODB, "toxodb, an Enum")],
)
def test_a_subclass_of_str_becomes_plain_text(given_text, plain):
    result = text(given_text, "name", 50)
    assert type(result) is str
    assert result == plain


def test_a_subclass_of_str_cannot_lie_about_its_length():
    assert refusal(text, Word("a long word"), "name", 3) == "name: it must not be longer than 3 characters"


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (["a", "b", ""], "ids[2]: it must not be empty"),
        (["a", "bcdefg"], "ids[1]: it must not be longer than 5 characters"),
        (["a", "b\0"], "ids[1]: it contains the character U+0000"),
        (["\ud83d", "\ude00"], "ids[0]: it contains a lone surrogate, which is no character"),
        (["a", 7], "ids[1]: text is needed"),
        (["a", None], "ids[1]: text is needed"),
        (["a"] * 11, "ids: it must not have more than 10 items"),
        ("abc", "ids: a list is needed"),
        (b"abc", "ids: a list is needed"),
        ({"a"}, "ids: a list is needed: a set has no order"),
        ((item for item in "abc"), "ids: a list is needed"),
        (None, "ids: a list is needed"),
    ],
)
def test_a_list_of_texts_names_its_first_mistake(items, says):
    assert refusal(texts, items, "ids", most=10, longest=5) == says


@given(
    st.lists(
        st.text(st.characters() | st.sampled_from("\0\ud800\udfff"), max_size=7) | st.builds(Word, st.text(max_size=7)),
        max_size=12,
    )
)
def test_many_texts_at_once_are_judged_as_one_by_one(items):
    def one_by_one() -> list[str]:
        return [text(item, f"ids[{index}]", 5) for index, item in enumerate(items)]

    assert outcome(one_by_one) == outcome(lambda: texts(items, "ids", most=20, longest=5))


def test_the_callers_list_is_not_kept():
    mine = ["a"]
    checked = texts(mine, "ids", most=5, longest=5)
    mine.append("\0")
    assert checked == ["a"]


def test_whole_numbers_come_from_lists_tuples_and_sets():
    for numbers in ([1, 2], (1, 2), {1, 2}, frozenset((1, 2)), {1: "", 2: ""}.keys(), range(1, 3)):
        assert sorted(integers(numbers, "ids", most=2, highest=9)) == [1, 2]
    assert refusal(integers, [1, True], "ids", most=2, highest=9) == "ids[1]: a whole number is needed"
    assert refusal(integers, [1, 10], "ids", most=2, highest=9) == "ids[1]: it must be from 0 to 9"
    assert refusal(integers, {10}, "ids", most=2, highest=9) == "ids: it must be from 0 to 9"
    assert refusal(integers, range(3), "ids", most=2, highest=9) == "ids: it must not have more than 2 items"
    assert refusal(integers, set(range(3)), "ids", most=2, highest=9) == "ids: it must not have more than 2 items"


@pytest.mark.parametrize("wrong", [True, 1.0, "1", None, float("nan")])
def test_only_an_int_is_a_whole_number(wrong):
    assert refusal(integer, wrong, "count", 0, 9) == "count: a whole number is needed"
    assert refusal(page_size, wrong) == "limit: a whole number is needed"


@pytest.mark.parametrize("wrong", [1, 0, "true", None, []])
def test_only_true_and_false_are_flags(wrong):
    assert refusal(boolean, wrong, "is_public") == "is_public: true or false is needed"


@pytest.mark.parametrize("wrong", [True, "0.5", None, float("nan"), float("inf"), -0.1, 1.1, 10**400])
def test_a_share_is_a_number_from_0_to_1(wrong):
    assert refusal(share, wrong, "max_share") == "max_share: a number from 0 to 1 is needed"
    assert [share(0, "s"), share(1, "s"), share(0.25, "s")] == [0.0, 1.0, 0.25]


def test_no_message_repeats_the_value():
    word = "s3cr3t"
    messages = [
        refusal(as_uuid, word, "x"),
        refusal(text, word, "x", 3),
        refusal(integer, word, "x", 0, 1),
        refusal(texts, [word, word], "x", most=1, longest=9),
        refusal(integer, 4711, "x", 0, 1),
        refusal(text, uuid4(), "x", 3),
    ]
    assert not [message for message in messages if word in message or "4711" in message]


def test_white_space_is_what_python_takes_for_it_and_the_byte_order_mark():
    spaces = {chr(number) for number in range(sys.maxunicode + 1) if chr(number).isspace()}
    assert set(validation.SPACE) == spaces | {"\ufeff"}


@pytest.mark.parametrize("wrong", ["\ufeff " * 100_000, " " * 200_000])
def test_a_hostile_amount_of_white_space_takes_no_time(wrong):
    assert validation.tidied(wrong) == ""
    assert validation.ids_of_genes([f"{wrong}x", "y"], "ids", most=2) == ["x", "y"]
