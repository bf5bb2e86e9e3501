"""The defects that `python -m tests.defects` plants can still be planted: whether they are found takes longer."""

import ast

import pytest

from tests.defects import Defect, UnplantableError
from tests.defects.__main__ import is_found
from tests.defects.planted import DEFECTS
from tests.support.checkout import REPOSITORY

PACKAGE = REPOSITORY / "veupath_store"


@pytest.mark.parametrize("planted", DEFECTS, ids=lambda planted: planted.name)
def test_a_defect_can_be_planted_and_leaves_modules_that_can_be_imported(planted):
    for path, text in planted.planted_in(PACKAGE).items():
        assert text != path.read_text()
        ast.parse(text)


def test_there_are_twenty_and_each_has_a_name():
    assert len({planted.name for planted in DEFECTS}) == len(DEFECTS) >= 20


def test_a_package_has_the_defect_for_a_block_only(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("first, second = 1, 1\n")
    with Defect("another number", (("first, second", "first"), (" = 1, 1", " = 2"))).planted(tmp_path):
        assert module.read_text() == "first = 2\n"
    assert module.read_text() == "first, second = 1, 1\n"


@pytest.mark.parametrize("text", ["third", "1"])
def test_a_text_that_is_not_there_once_is_named(tmp_path, text):
    (tmp_path / "module.py").write_text("first, second = 1, 1\n")
    with pytest.raises(UnplantableError, match=f"(?s)'a defect'.*{text}"):
        Defect("a defect", ((text, ""),)).planted_in(tmp_path)


class Runs:
    """A checkout whose runs end as they are given here, and are noted."""

    def __init__(self, package, *ends):
        self.package, self.ends, self.arguments = package, list(ends), []
        (package / "module.py").write_text("first")

    def forget_examples(self):
        pass

    def run(self, arguments):
        self.arguments.append(list(arguments))
        return self.ends.pop(0)


FAILED, PASSED, NONE_LEFT = (1, "FAILED tests/test_a.py::test_b - no"), (0, ""), (5, "")
NO_END = (1, "Timeout (0:02:00)!\nThread 0x1")


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        ([PASSED], False),
        ([FAILED, PASSED], True),
        ([FAILED, FAILED, PASSED], False),
        ([FAILED, FAILED, NONE_LEFT], False),
        ([NO_END, PASSED], True),
        ([NO_END, NO_END], False),
    ],
)
def test_a_defect_is_found_by_what_fails_with_it_only(tmp_path, capsys, ends, found):
    runs = Runs(tmp_path, *ends)
    assert is_found(runs, Defect("a defect", (("first", "second"),)), ["all"]) is found
    assert runs.ends == []
