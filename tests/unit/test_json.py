"""The encoder: what is refused, where the culprit is said to be, and what that costs."""

import enum
from collections import OrderedDict, defaultdict
from typing import NamedTuple

import pytest

from veupath_store import InvalidInputError
from veupath_store.documents.json import check, decode, encode

NAN = float("nan")


class Color(enum.StrEnum):
    RED = "red"


class Plain(enum.Enum):
    ONE = 1


class Share(float):
    """A subclass of float, as numpy's are."""


class Point(NamedTuple):
    x: int = 1


def path_of(document, path="document") -> str:
    with pytest.raises(InvalidInputError) as refusal:
        encode(document, path)
    return refusal.value.path


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"root": {"parameters": {"x": NAN}}}, "document.root.parameters.x"),
        (["a", "b", "c", NAN], "document[3]"),
        ([[1, [2, {"k": [NAN]}]]], "document[0][1][1].k[0]"),
        ({"": {" ": NAN}}, "document.. "),
        ({"a": 1, "b": [1, "\0", NAN], "c": b"x"}, "document.b[1]"),
        ({"c": b"x", "b": "\0"}, "document.c"),
        ({"line\nbreak\x1b[31m": {"x" * 1000: NAN}}, f"document.line?break?[31m.{'x' * 175}"),  # cut and cleaned
        ({"rows": [*[[0.5] * 1000] * 999, [0.5] * 999 + [NAN]]}, "document.rows[999][999]"),  # no path for each number
    ],
)
def test_a_path_leads_through_objects_and_arrays_to_the_first_culprit(document, path):
    assert path_of(document) == path


@pytest.mark.parametrize("value", [Plain.ONE, Share(0.5), Point(), (1,), {1}, b"x", object(), range(2)])
def test_what_is_no_json_is_named_by_its_type(value):
    with pytest.raises(InvalidInputError, match=rf"data\.a\[1\]: a {type(value).__name__} is no JSON value"):
        encode({"a": [0, value]}, "data")


@pytest.mark.parametrize("document", [None, True, 1, 1.5, "{}", b"{}", (), set(), object(), iter([])])
def test_only_an_object_or_an_array_is_a_document(document):
    with pytest.raises(InvalidInputError, match="data: a JSON object or array is needed"):
        encode(document, "data")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"x": Color.RED}, '{"x":"red"}'),
        (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        (defaultdict(list, x=[]), '{"x":[]}'),
        ({"x": "\\u0000"}, '{"x":"\\\\u0000"}'),
        ([1e16, -1.2345678901234567e17, 1.9e19], "[10000000000000000.0,-123456789012345664.0,19000000000000000000.0]"),
        ([1e15, 1e20, 1e160, 1.5e-16], "[1000000000000000.0,1e+20,1e+160,1.5e-16]"),
        (["1e+16", '"1e+16', '\\"', 1e16], '["1e+16","\\"1e+16","\\\\\\"",10000000000000000.0]'),
        ({"1e+17": 1e17}, '{"1e+17":100000000000000000.0}'),
    ],
)
def test_what_reads_back_equal_is_taken(document, text):
    assert encode(document) == text
    assert decode(text) == document


def test_a_right_document_passes_the_walk():
    check({"a": [1, 2.5, None, True, "x", {"b": []}]}, "document")
