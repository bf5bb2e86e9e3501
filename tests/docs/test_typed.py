"""Type checkers accept what a page shows, and say where one does not."""

import pytest

from tests.docs.pages import Page
from tests.docs.typed import mistakes, written

FENCE = "```"

# Each call as somebody writes it first: plain literals, ids as text, names of kinds as text.
PLAIN = f"""
{FENCE}python
from uuid import uuid4

from veupath_store import Event, ExperimentRepository, ExperimentSave, GeneSetRepository, GeneSetSave
from veupath_store import OperationRepository, Projector, StreamRepository, async_session_factory
from veupath_store.values import ControlSetPatch, ProjectionPatch
from veupath_store.values import WdkStrategy

user = str(uuid4())
root = {{"id": "1", "searchName": "GenesByText", "parameters": {{"organism": ["P. falciparum 3D7"]}}}}
plan = {{"recordType": "transcript", "root": root}}
notes = ["a", "b"]
async with async_session_factory() as session:
    streams = StreamRepository(session).for_user(user)
    stream = await streams.create(user, "plasmodb", experiment_id=user)
    await streams.update_projection(str(stream.id), plan=plan, gene_set_id=user, gene_set_id_set=True)
    await streams.patch_projection(str(stream.id), ProjectionPatch(plan=plan, gene_set_id=user))
    await streams.page_projections(user, "plasmodb", sort="name")
    await streams.sync_wdk(user, "plasmodb", [WdkStrategy(wdk_strategy_id=1), {{"wdk_strategy_id": 2}}])
    experiments = ExperimentRepository(session)
    await experiments.save(user, user_id=user, site_id="s", name="n", status="done", data=plan)
    await experiments.write(ExperimentSave(id=user, user_id=user, site_id="s", name="n", status="done", data=plan))
    for value in (plan, notes, 1, "text", None):
        await experiments.patch_field(user, "field", value)
    gene_sets, genes = GeneSetRepository(session), ["g"]
    await gene_sets.save(user, user_id=user, site_id="s", name="n", gene_ids=genes, source="upload", parameters=plan)
    await gene_sets.write(GeneSetSave(id=user, user_id=user, site_id="s", name="n", gene_ids=genes, source="paste"))
    await gene_sets.page_containing(user, ("g",), match="all")
    await OperationRepository(session).start(user, "chat", stream_id=user, worker_id="w", lease_seconds=30)
    patch = ControlSetPatch(positive_ids=("g",), tags=["t"])
    await Projector().append(user, [Event(type="user_message", data=plan, operation_id=user)], session=session)
opened = await StreamRepository().get_projection(user)
if opened is not None:
    steps: int = len(opened.steps)
    name: str = opened.name
{FENCE}

{FENCE}python title="package/app.py"
def greet(name: str) -> str:
    return name
{FENCE}

{FENCE}python
from package.app import greet

print(greet("ada"))
{FENCE}
"""

WRONG = f"""# A page

{FENCE}python
from veupath_store import UserRepository

user = await UserRepository().create()
print(user.id + 1)
{FENCE}

{FENCE}python title="app.py"
x: int = "text"
{FENCE}

{FENCE}python
opened = await UserRepository().get_by_id(user.id)
print(opened.id)
{FENCE}
"""


@pytest.mark.large
def test_both_checkers_accept_plain_literals_and_name_the_line_of_what_is_wrong():
    found = mistakes([Page("docs/plain.md", PLAIN), Page("docs/wrong.md", WRONG), Page("docs/none.md", "# No code\n")])
    assert [line for line in found if not line.startswith("docs/wrong.md:")] == []
    assert sorted(line.split(": ")[0] for line in found if "docs/" in line) == sorted(
        f"docs/wrong.md:{number}" for number in (7, 11, 16) for _ in range(2)
    )


def test_a_page_is_one_function_whose_lines_are_those_of_the_page(tmp_path):
    whole, titled = written(Page("docs/wrong.md", WRONG), tmp_path)
    lines = whole.read_text().splitlines()
    assert lines[2] == "async def page() -> None:"
    assert lines[6] == "    print(user.id + 1)"
    assert lines[15] == "    print(opened.id)"
    assert titled.read_text().splitlines()[10] == 'x: int = "text"'
