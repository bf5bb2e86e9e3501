r"""U+0000 and lone surrogates in JSON text become U+FFFD, and nothing else changes."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.naive_fold import cleaned
from veupath_store.events.fold.text import clean, decoded

PIECES = [
    "\0",
    "\ud800",
    "\udbff",
    "\udc00",
    "\udfff",
    "\ud83d\ude00",
    "\\",
    '"',
    "u0000",
    "ud800",
    "ude00",
    "a",
    "\u00e9",
    "/",
]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (rb'"\u0000"', "\ufffd"),
        (rb'"a\u0000b\u0000\u0000"', "a\ufffdb\ufffd\ufffd"),
        (rb'"\\u0000"', r"\u0000"),
        (rb'"\\\u0000"', "\\\ufffd"),
        (rb'"\\\\u0000"', r"\\u0000"),
        (rb'"\"\u0000\""', '"\ufffd"'),
        (rb'"\ud800"', "\ufffd"),
        (rb'"\uDFFF"', "\ufffd"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\uD83D\uDE00"', "\U0001f600"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (rb'"\ud83d\ude00\ude00"', "\U0001f600\ufffd"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (rb'"\ud83dx\ude00"', "\ufffdx\ufffd"),
        (rb'"\ud83d\\ude00"', "\ufffd\\ude00"),
        (rb'"\\ud83d\ude00"', "\\ud83d\ufffd"),
        (rb'"\ud83d\u0000"', "\ufffd\ufffd"),
        (rb'"\ud7ff\ue000\u0001"', "\ud7ff\ue000\x01"),
    ],
)
def test_text_is_cleaned_as_it_is_escaped(raw, expected):
    assert json.loads(clean(raw)) == expected
    assert decoded(b'{"a":%b}' % raw) == {"a": expected}


def test_keys_are_cleaned_too():
    assert decoded(rb'{"a\u0000":1,"\ud800":2}') == {"a\ufffd": 1, "\ufffd": 2}


def test_text_without_such_characters_is_the_same_object():
    raw = json.dumps({"content": "\u00e9\n\\ 'quoted' \U0001f600".replace("\U0001f600", ""), "n": [1.5, None]}).encode()
    assert clean(raw) is raw
    assert clean(b"") == b""


@given(
    st.lists(st.sampled_from(PIECES) | st.text(st.characters(), max_size=2), max_size=12).map("".join), st.booleans()
)
def test_it_is_what_the_decoded_text_would_become(text, pretty):
    raw = json.dumps({text: [text]}, indent=2 if pretty else None).encode()
    assert json.loads(clean(raw)) == decoded(raw) == cleaned(json.loads(raw))


@given(st.binary(max_size=20) | st.text(alphabet='\\u0dDeE8{}"', max_size=30).map(str.encode))
def test_text_that_is_no_json_is_nobodys_error(raw):
    assert clean(raw) == clean(bytes(bytearray(raw)))
    assert decoded(raw) is None or isinstance(decoded(raw), dict)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"x"', b'{"a":nan}', b'{"a":1e999}', b'{"a":"\xff"}'])
def test_what_is_no_json_object_is_none(raw):
    assert decoded(raw) is None


def test_depth_beyond_the_decoder_is_no_error():
    assert decoded(b'{"a":' * 5_000 + b"1" + b"}" * 5_000) is None


def test_sixteen_megabytes_of_bad_characters_are_cleaned_in_seconds():
    raw = b'{"a":"%b"}' % (rb"\u0000\\\ud800" * (16 * 1024 * 1024 // 14))
    started = time.process_time()
    text = decoded(raw)["a"]
    assert time.process_time() - started < 20
    assert set(text) == {"\ufffd", "\\"}


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b'{"a":NaN,"b":-Infinity,"c":[Infinity]}', {"a": None, "b": None, "c": [None]}),
        (b'{"NaN":"NaN","b":"-Infinity \\" NaN","c":NaN}', {"NaN": "NaN", "b": '-Infinity " NaN', "c": None}),
    ],
)
def test_what_an_old_application_wrote_as_no_number_is_null(raw, data):
    assert decoded(raw) == data
