"""``python -m demo``: it ends with a proof that holds, twice on the same data; and the proof can fail."""

import shutil
import sys
import tempfile
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from rich.console import Console

from demo import play
from demo.ledger import Kind, Ledger, compare, compare_undone
from demo.place import Place
from demo.proof import check_server, compare_all
from demo.scenes.sign_in import sign_in
from demo.show import Show
from demo.strategies import Search, Strategy
from tests.support.apart import run_apart
from tests.support.checkout import REPOSITORY
from tests.support.processes import run
from veupath_store import ControlSetRepository, StreamRepository
from veupath_store.engine.connect import connect, connect_arguments
from veupath_store.servers.postgres import EmbeddedPostgres

HOLDS = "The proof holds: nothing acknowledged was lost, nothing undone was seen."
CATCH_UP_REPEATED = "the event log cannot be brought up to date now: "


def run_demo(data: Path) -> str:
    command = (sys.executable, "-m", "demo", "--data", str(data))
    environment = {"PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8", "TMPDIR": str(data.parent)}
    done = run_apart(run(*command, cwd=REPOSITORY, **environment, COLUMNS="80"))
    assert done.code == 0, done
    # The demo ends connections, and one may be that of a catch-up, which says so and is repeated.
    assert not [line for line in done.err.splitlines() if not line.startswith(CATCH_UP_REPEATED)]
    return done.out


@pytest.fixture(scope="module")
def days():
    """The output of two runs on one new data directory, and what they left behind."""
    # Not tmp_path: the embedded server needs a directory that its own user can reach.
    top = Path(tempfile.mkdtemp(prefix="veupath-store-demo-")).resolve()
    first, second = run_demo(top / "pg"), run_demo(top / "pg")
    EmbeddedPostgres(top / "pg").leave(wait=True)
    yield first, second, {path.name for path in (*top.iterdir(), *(top / "pg").iterdir())}
    shutil.rmtree(top, ignore_errors=True)


@pytest.mark.large
def test_the_demo_proves_that_nothing_was_lost_on_both_days(days):
    for output in days[:2]:
        assert HOLDS in output.splitlines()
        _, _, proof = output.partition("\nThe proof\n")
        ends = [line.split()[-1] for line in proof.splitlines() if line.startswith(" ") and line.strip()]
        assert [end for end in ends if end in ("yes", "no")] == 11 * ["yes"]


@pytest.mark.large
def test_the_second_day_welcomes_back_and_finds_the_first(days):
    first, second, _ = days
    assert "The first day" in first
    count = int(next(line for line in second.splitlines() if line.startswith("Welcome back")).split()[2])
    assert count > 50
    row = next(line for line in second.splitlines() if "conversations of earlier days" in line)
    assert row.split()[-4:] == [str(count), str(count), str(count), "yes"]


@pytest.mark.large
def test_the_demo_fits_100_columns_and_is_plain_text_in_a_pipe(days):
    for output in days[:2]:
        assert max(map(len, output.splitlines())) <= 100
        assert "\x1b" not in output


@pytest.mark.large
def test_the_server_of_the_demo_stops_with_it(days):
    assert "PG_VERSION" in days[2]
    assert "postmaster.pid" not in days[2]


def test_a_tampered_row_a_missing_row_and_an_undone_row_fail_the_comparison():
    whole, tampered, missing, undone = (uuid4() for _ in range(4))
    expected = {identity: {"name": "Kinases", "plan": {}} for identity in (whole, tampered, missing)}
    found = {
        whole: SimpleNamespace(name="Kinases", plan={}),
        tampered: SimpleNamespace(name="Kinases", plan={"root": None}),
        undone: SimpleNamespace(name="Never saved"),
    }
    verdict = compare(Kind.CONVERSATION, expected, found)
    assert not verdict.holds
    assert (verdict.acknowledged, verdict.found, verdict.equal) == (3, 2, 1)
    assert [str(tampered) in line or str(missing) in line for line in verdict.differences] == [True, True]
    assert not compare_undone({undone}, found).holds
    assert compare_undone({uuid4()}, found).holds
    assert compare(Kind.CONVERSATION, {whole: expected[whole]}, found).holds


async def test_the_proof_fails_when_a_stored_row_is_changed_behind_its_back(store, user):
    ledger = Ledger()
    stream = await StreamRepository().create(user.id, "plasmodb", name="Kinases")
    genes = await ControlSetRepository().create(
        name="Markers", site_id="plasmodb", record_type="transcript", positive_ids=["PF3D7_1343700"], negative_ids=[]
    )
    ledger.acknowledge(Kind.USER, user.id, external_id=None)
    ledger.acknowledge(Kind.CONVERSATION, stream.id, name="Kinases", plan={}, user_id=user.id)
    ledger.acknowledge(Kind.CONTROL_SET, genes.id, positive_ids=["PF3D7_1343700"])
    assert all(verdict.holds for verdict in await compare_all(ledger))

    client = await store.open()
    await client.execute_query("UPDATE stream_projections SET name = 'Kinases!' WHERE stream_id = $1", [stream.id])
    await client.execute_query("DELETE FROM control_sets WHERE id = $1", [genes.id])
    failed = {verdict.subject: verdict for verdict in await compare_all(ledger) if not verdict.holds}
    assert failed.keys() == {"conversations", "control sets"}
    assert "acknowledged was 'Kinases'" in failed["conversations"].differences[0]


async def test_the_proof_sees_a_backend_in_a_transaction_and_a_row_too_many(store, user, settings):
    place = Place(settings, "a test's database")
    arguments = connect_arguments(settings, settings.target)
    direct, idle = [await connect(settings.target, 5, arguments) for _ in range(2)]
    try:
        assert all(check.holds for check in await check_server(place, direct, [user.id], 0))
        await StreamRepository().create(user.id, "plasmodb")
        async with idle.transaction():
            failed = [check.what for check in await check_server(place, direct, [user.id], 0) if not check.holds]
        assert failed == ["no backend is idle in a transaction", "nothing was saved twice"]
    finally:
        await direct.close()
        await idle.close()


async def test_a_day_on_which_something_is_lost_ends_with_a_proof_that_fails(settings, monkeypatch):
    async def lose_a_conversation(day):
        await day.converse("yuki", "fungidb", "Kept")
        lost = await day.converse("yuki", "fungidb", "Lost")
        await day.direct.execute("DELETE FROM streams WHERE id = $1", lost.id)

    monkeypatch.setattr(play, "SCENES", (("A bad day", (sign_in, lose_a_conversation)),))
    printed = StringIO()
    held = await play.play(Place(settings, "a test's database"), Show(Console(file=printed, width=100)))
    assert held is False
    assert "THE PROOF FAILS: 2 difference(s)." in printed.getvalue()
    assert "is missing" in printed.getvalue()


def test_a_strategy_grows_by_one_search_at_each_stage():
    searches = tuple(Search(f"s{number}", "GenesByTaxon", {}, "UNION") for number in range(3))
    stages = list(Strategy("amara", "plasmodb", "Growing", searches).stages())
    assert [stage["root"]["id"] for stage in stages] == ["step_1", "combine_1", "combine_2"]
    assert stages[2]["root"]["primaryInput"] == stages[1]["root"]
