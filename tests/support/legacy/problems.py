r"""One legacy database with every kind of problem, each more than once.

What the legacy constraints forbid is there as well: `rows.insert` does not look at foreign keys, and the unique index
of WDK ids has to be dropped first (`BEFORE`).
"""

from tests.support.legacy.real import flat_steps
from tests.support.legacy.rows import INFINITE, World, identity, later, text

BEFORE = "DROP INDEX ix_proj_wdk"

GONE = identity(9_001)
NAME = 255 * "n"
SEARCH = {"id": "a", "kind": "search", "searchName": "GenesByTaxon", "parameters": {"organism": "Pf"}}
COMBINE = {"id": "c", "kind": "combine", "operator": "UNION", "primaryInputStepId": "a", "secondaryInputStepId": "b"}
TREE = {
    "id": "top",
    "operator": "MINUS",
    "searchName": "boolean_question",
    "primaryInput": {"id": "left", "searchName": "GenesByText", "displayName": "left"},
    "secondaryInput": {"id": "right", "searchName": "GenesByGoTerm", "colocationParams": {"upstream": 5}},
}

TEXTS = (
    *(r'"a\u0000b"', r'"\ud800"', r'"\uDBFFx"', r'"\udc00\ud800"'),
    *(r'"\ud800\ud83d\ude00"', r'"\\\u0000"', r'"\ud83d\\ude00"'),
)
"""JSON strings that jsonb refuses."""

FINE = r'["\\u0000", "\\\\ud800", "\ud83d\ude00", "\u00e9", 1.10, 12345678901234567890, 1e300, -0.0, {"a": 1, "a": 2}]'
"""What looks alike and is no problem."""


def nested(levels: int) -> str:
    """An object of so many levels."""
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


def chain(levels: int) -> str:
    """A plan's root with so many levels of steps."""
    return '{"id": "a", "primaryInput": ' * (levels - 1) + '{"id": "a"}' + "}" * (levels - 1)


def problem_world(*, nullable: bool) -> World:
    """Every kind of problem; ``nullable`` for those that only Alembic's variant can have."""
    world = World()
    one, two = world.user()["id"], world.user()["id"]
    for fill in (_ids, _owners, _documents, _limits, _names, _claims, _plans, _positions, _pairs, _operations):
        fill(world, one, two)
    if nullable:
        _nulls(world, one)
    return world


def _ids(world: World, one: str, two: str) -> None:
    upper, shout = identity(9_100).upper(), identity(9_101)
    world.user(id=upper)
    world.user(id=shout)
    world.user(id=shout.upper(), external_id=None)
    world.user(id="someone", external_id="me")
    world.user(id="Łukasz's 🧬 laptop")
    for user in (upper, shout, shout.upper(), "someone"):
        chat = world.chat(user, name="Mine", stream={"experiment_id": "exp_00000000004d"})
        world.operation(chat["stream_id"])
        world.experiment(user_id=user)
        world.control_set(user_id=user)
        world.gene_set(user_id=user)
    # No foreign key: a reference may differ in case from the row that it means.
    world.experiment(user_id=one.upper())
    for key in ("", " ", "exp_12", "EXP_0123456789AB", "x" * 50, identity(9_102).replace("-", ""), identity(9_103)):
        world.experiment(id=key, user_id=one)
    for key in ("set 1", identity(9_104).upper(), "{" + identity(9_105) + "}"):
        genes = world.gene_set(id=key, user_id=one)
        world.gene_set(user_id=one, parent_set_ids=text([genes["id"], identity(9_106)]))
        world.chat(one, gene_set_id=genes["id"])
    world.gene_set(id=identity(9_107), user_id=two)
    world.gene_set(id=identity(9_107).upper(), user_id=two)
    world.gene_set(user_id=two, parent_set_ids=text([identity(9_107).upper(), identity(9_107), "nowhere"]))
    world.control_set(id="controls", user_id=two)
    for key in ("short", identity(9_108).upper()):
        chat = world.chat(one, stream={"id": key, "experiment_id": "exp 1"})
        world.operation(chat["stream_id"])
        world.operation(chat["stream_id"], operation_id=f"operation of {key[:15]}")
    twin = identity(9_109)
    for key in (twin, twin.upper(), twin.capitalize()):
        if key not in {row["id"] for row in world.rows["streams"]}:
            world.operation(world.chat(two, stream={"id": key})["stream_id"])
    world.chat(one, stream={"experiment_id": ""})


def _owners(world: World, one: str, two: str) -> None:
    for owner in (None, GONE, "nobody at all", ""):
        world.control_set(user_id=owner)
        world.control_set(user_id=owner, is_public=True)
        world.experiment(user_id=owner, data='{"isPrimaryBenchmark": true}')
        genes = world.gene_set(user_id=owner)
    chat = world.chat(GONE, name="Left behind", gene_set_id=genes["id"], wdk_strategy_id=4)
    world.operation(chat["stream_id"])
    world.chat(identity(9_002), name="Left behind", wdk_strategy_id=4)
    theirs = world.gene_set(user_id=two)
    world.chat(one, gene_set_id=theirs["id"])
    world.chat(one, gene_set_id=identity(9_003))
    world.chat(one, gene_set_id="no such set")


def _documents(world: World, one: str, two: str) -> None:
    for value in TEXTS:
        world.control_set(user_id=one, positive_ids=f"[{value}]", negative_ids=f'[[{{"x": {value}}}]]')
        world.control_set(user_id=one, tags=f"[{value}, {FINE}]")
        world.experiment(user_id=one, data=f'{{{value}: [{value}], "fine": {FINE}}}')
        world.experiment(user_id=one, data=value)
        world.gene_set(user_id=one, gene_ids=f"[{value}]", parameters=f"{{{value}: 1}}")
        world.chat(one, plan=f'{{"root": {{"id": "a", "searchName": {value}}}}}')
        world.chat(one, plan='{"root": {"id": "a"}}', steps=f"[{value}]")
    world.experiment(user_id=one, data=r'{"a\u0000": 1, "a\ufffd": 2, "b\ufffd": 3, "b\udead": 4}')
    world.experiment(user_id=one, data=f'{{"isPrimary": true, "fine": {FINE}}}')
    world.experiment(user_id=one, data='{"isPrimary": "true"}')
    world.control_set(user_id=two, positive_ids=FINE, negative_ids=FINE, tags=FINE)
    world.gene_set(user_id=two, gene_ids=FINE, parameters=FINE)
    world.gene_set(user_id=two, parameters="null")
    world.gene_set(user_id=two, parameters='"a string"')
    for value in ("null", "7", '"text"', "{}", '{"a": [1]}', "true"):
        world.control_set(user_id=two, positive_ids=value, negative_ids=value, tags=value)
        world.gene_set(user_id=two, gene_ids=value, parent_set_ids=value)
    for value in ("null", "7", '"text"', "[]", "[1, {}]", "false", FINE):
        world.experiment(user_id=two, data=value)
        world.chat(two, plan=value)
    world.gene_set(user_id=two, parent_set_ids='[7, null, "set 1", ["set 1"], {"id": "set 1"}]')
    world.gene_set(user_id=two, parent_set_ids=r'["\ud800", "a\u0000"]')
    large = '{"a": "' + "x" * 200_000 + '"}'
    for value in (nested(254), nested(255), nested(3_000), '{"a": 1e200000}', '{"a": -1e309}', large):
        world.experiment(user_id=two, data=value)
        world.chat(two, plan=f'{{"root": {{"id": "a", "parameters": 1}}, "b": {value}}}')
        world.gene_set(user_id=two, parameters=value, gene_ids=f"[{value}]")
    world.gene_set(user_id=two, parent_set_ids="[" * 300 + "]" * 300, gene_ids="[" * 254 + "]" * 254)
    for source in ("", "PASTE", "import"):
        world.gene_set(user_id=two, source=source)


def _limits(world: World, one: str, two: str) -> None:
    floats = ("1e16", "-1.5e+2", "1.25E+17", "1e19", "12e18", "1e-5", '"1e16"')
    for value in (*floats, "1" * 30, f"-{'9' * 19}", f"-{'1' * 25}"):
        world.experiment(user_id=one, data=f'{{"a": [{value}]}}')
        world.gene_set(user_id=one, parameters=value, gene_ids=f"[{value}]")
        world.experiment(user_id=one, data=value)
    for value in ("1" * 400, "0." + "1" * 20_000, "1e-20000"):
        world.gene_set(user_id=two, parameters=value, gene_ids=f"[{value}]")
    for value in (["x"] * 101, ["x" * 101], ["x" * 100] * 100, ["é" * 100]):
        world.control_set(user_id=two, tags=text(value), positive_ids=text(value))
        world.gene_set(user_id=two, gene_ids=text(value))
    world.gene_set(user_id=two, parent_set_ids=text(["set 1"] * 1_001))
    world.control_set(user_id=two, created_at=INFINITE)
    world.experiment(user_id=two, updated_at=INFINITE)
    for levels in (200, 201):
        world.chat(two, plan=f'{{"root": {chain(levels)}}}')


def _names(world: World, one: str, two: str) -> None:
    for minutes in (1, 3, 2):
        world.chat(one, name="Kinases", updated_at=later(minutes))
    world.chat(one, name="Kinases", updated_at=later(9), dismissed_at=later(10))
    world.chat(one, name="Kinases (1)")
    world.chat(one, name="Kinases (3)")
    world.chat(one, name="Kinases (3)")
    world.chat(one, name="Kinases", site_id="toxodb")
    world.chat(two, name="Kinases")
    for _ in range(12):
        world.chat(one, name=NAME)
        world.chat(two, name="", updated_at=later(0))
    world.chat(two, name="New Conversation")
    world.chat(two, name="🧬" * 255)
    world.chat(two, name="🧬" * 255, dismissed_at=later(1))


def _claims(world: World, one: str, two: str) -> None:
    for person in (one, two):
        world.chat(person, wdk_strategy_id=1, updated_at=later(1))
        world.chat(person, wdk_strategy_id=1, updated_at=later(2))
        world.chat(person, wdk_strategy_id=1, updated_at=later(3), dismissed_at=later(3))
        world.chat(person, wdk_strategy_id=1, site_id="toxodb")
        world.chat(person, wdk_strategy_id=-5, message_count=-1, step_count=-2, result_count=-3)
        for minutes in (1, 3, 2, 3):
            world.chat(person, stream={"experiment_id": "exp_00000000beef"}, updated_at=later(minutes))


def _plans(world: World, one: str, two: str) -> None:
    flat = text(flat_steps(TREE))
    for plan in ("{}", '{"recordType": "old"}', "null", "[]", r'{"a": "\u0000"}'):
        world.chat(one, plan=plan, steps=flat, root_step_id="top")
        world.chat(one, plan=plan, steps=flat, root_step_id="nowhere")
        world.chat(one, plan=plan, steps=flat, root_step_id=None, record_type=None)
        world.chat(one, plan=plan, steps="[]", root_step_id="top")
    world.chat(one, steps=text([SEARCH, {"id": "b"}, COMBINE, 7, None, {"id": 7}]), root_step_id="c")
    world.chat(one, steps=text([{"id": 7, "primaryInputStepId": "gone"}]), root_step_id="7", record_type=None)
    world.chat(one, steps=text([COMBINE | {"primaryInputStepId": "c"}]), root_step_id="c")
    broken = r'[{"id": "a", "searchName": "x\u0000", "parameters": {"n": 1.10}}]'
    world.chat(one, steps=broken, root_step_id="a")
    for value in ("{}", '"a"', "null", nested(300)):
        world.chat(one, steps=value, root_step_id="a")
    world.chat(two, plan=text({"root": TREE}), steps=flat, root_step_id="top")
    world.chat(two, plan=text({"root": TREE}), steps="[]")
    more = [step | {"wdkStepId": 7, "filters": [], "analyses": None} for step in flat_steps(TREE)]
    world.chat(two, plan=text({"root": TREE}), steps=text(more), root_step_id="left")
    world.chat(two, plan=text({"root": TREE}), steps=text([*more, SEARCH]), root_step_id="top")
    world.chat(two, plan=text({"metadata": {"own": 1}}), steps=text(more), root_step_id="top")


def _positions(world: World, one: str, two: str) -> None:
    fine = ("0-0", "1-18446744073709551615", "1740000000000-12", None)
    for position in (*fine, "", "1", "1-", "-1", "1-1-1", "a-1", " 1-1", "1-1\n", "१-१", "18446744073709551616-0"):
        world.chat(two, last_event_id=position)


def _pairs(world: World, one: str, two: str) -> None:
    for key in (identity(9_201), identity(9_202).upper(), "only a projection"):
        world.projection(key, name="Alone", wdk_strategy_id=8)
        world.operation(key)
    world.projection(identity(9_203), site_id="")
    world.stream(user_id=one)
    world.stream(user_id=one)
    world.stream(user_id=GONE, id="only a stream")
    world.stream(user_id=two, experiment_id="exp_0000000000aa")
    world.chat(two, stream={"site_id": "toxodb"}, name="Elsewhere")
    world.chat(two, site_id="", stream={"site_id": "toxodb"}, name="Elsewhere")
    world.chat(two, site_id="s" * 50)


def _operations(world: World, one: str, two: str) -> None:
    stream = world.chat(one)["stream_id"]
    for status in ("active", "ACTIVE", "", "running", "completed", "failed", "cancelled"):
        world.operation(stream, status=status)
        world.operation(stream, status=status, completed_at=None)
        world.operation(identity(9_301), status=status)
    world.operation("no stream", operation_id="x" * 32)
    world.operation(stream, type="import")
    world.operation(stream, type="")


def _nulls(world: World, one: str) -> None:
    """Each column that the nullable variant may have null, alone and all together."""
    _null_each(world, "users", {}, ("created_at",))
    columns = ("name", "site_id", "record_type", "positive_ids", "negative_ids", "tags", "version", "created_at")
    _null_each(world, "control_set", {"user_id": one}, (*columns, "is_public"))
    world.control_set(user_id=None, is_public=None)
    columns = ("site_id", "name", "status", "data", "created_at", "updated_at")
    _null_each(world, "experiment", {"user_id": one}, columns)
    columns = ("site_id", "name", "gene_ids", "source", "parent_set_ids", "step_count", "created_at")
    _null_each(world, "gene_set", {"user_id": one}, columns)
    world.gene_set(user_id=one, parameters=None)
    for name in ("user_id", "site_id", "created_at"):
        world.chat(one, stream={name: None})
    world.stream(user_id=None, site_id=None, created_at=None, experiment_id="exp_0000000000aa")
    columns = ("name", "site_id", "is_saved", "message_count", "step_count", "plan", "steps", "updated_at")
    for name in (*columns, "gene_set_auto_imported"):
        world.chat(one, **{name: None})
    world.chat(one, stream={"site_id": None}, **dict.fromkeys(columns))
    world.projection(identity(9_401), **dict.fromkeys(columns))
    world.chat(one, plan=None, steps=text([SEARCH]), root_step_id="a", name=None)
    stream = world.chat(one)["stream_id"]
    for name in ("stream_id", "type", "status", "created_at"):
        world.operation(**{"stream_id": stream, name: None})
    world.operation(None, type=None, status=None, created_at=None, completed_at=None)


def _null_each(world: World, kind: str, given: dict, columns: tuple[str, ...]) -> None:
    add = getattr(world, kind.removesuffix("s") if kind == "users" else kind)
    for name in columns:
        add(**given, **{name: None})
    add(**given, **dict.fromkeys(columns))
