"""Plants one defect after the other in a copy of the checkout, and says which tests find it, after how long.

    python -m tests.defects                        # all of them, with the suite of `make test`
    python -m tests.defects token COMMIT           # those whose names contain one of these
    python -m tests.defects -C CHECKOUT -- -x -q   # in another checkout, with other arguments for pytest

Slow, as the suite runs once for each defect, until it fails: `nice -n 10` keeps a shared machine usable.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.defects import Defect
from tests.defects.checkout import Checkout
from tests.defects.planted import DEFECTS

NO_END = "a test that never ends"
SUITE = ("-x", "-q", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
_TIMEOUT = re.compile(r"^Timeout \(", re.MULTILINE)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.*?)(?: - .*)?$", re.MULTILINE)


def main() -> int:
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(prog="python -m tests.defects")
    parser.add_argument("-C", dest="checkout", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args(given[:end])
    chosen = [it for it in DEFECTS if not arguments.names or any(name in it.name for name in arguments.names)]
    with tempfile.TemporaryDirectory(prefix="veupath-store-defects-") as directory:
        # The embedded server runs as a user of its own, who must be able to enter.
        Path(directory).chmod(0o755)
        checkout = Checkout(arguments.checkout.resolve(), Path(directory))
        missed = [it.name for it in chosen if not is_found(checkout, it, given[end + 1 :] or SUITE)]
    sys.stdout.write(f"{len(chosen) - len(missed)} of {len(chosen)} were found\n")
    return int(bool(missed))


def is_found(checkout: Checkout, defect: Defect, suite: Sequence[str]) -> bool:
    """Plant a defect and run the suite; tells what it found."""
    started, unrelated = time.monotonic(), list[str]()
    checkout.forget_examples()
    while True:
        with defect.planted(checkout.package):
            code, output = checkout.run([*suite, *(f"--deselect={test}" for test in unrelated)])
        failed = [] if unrelated and code == pytest.ExitCode.NO_TESTS_COLLECTED else failures(code, output)
        found = [test for test in failed if not is_failing(checkout, test, suite)]
        if found or not failed or failed == [NO_END]:
            break
        # What fails without the defect as well, as on a busy machine, has found nothing; others may.
        sys.stdout.write(f"failed without the defect, too: {', '.join(failed)}\n")
        unrelated += failed
    took = time.monotonic() - started
    tests = ", ".join(found) or "every test passes"
    sys.stdout.write(f"{'found' if found else 'NOT FOUND'} after {took:.0f} s: {defect.name}: {tests}\n")
    sys.stdout.flush()
    return bool(found)


def is_failing(checkout: Checkout, test: str, suite: Sequence[str]) -> bool:
    """Whether a test fails, or has no end, without a defect, too; which test it was that had no end is not known."""
    return test in failures(*checkout.run(suite if test == NO_END else ["-q", test]))


def failures(code: int, output: str) -> list[str]:
    """The tests that failed.

    Raises:
        RuntimeError: Pytest could not run.
    """
    failed = _FAILED.findall(output)
    if code != 0 and not failed and _TIMEOUT.search(output):
        return [NO_END]
    if code != 0 and not failed:
        raise RuntimeError(f"pytest ended with {code}:\n{output[-4_000:]}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
