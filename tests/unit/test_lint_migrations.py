"""The linter of the migrations finds what it is for."""

import asyncio

import pytest

from tests.lint_migrations import AFTER_DEPLOY, EXCLUDED, about_migration, about_names, about_source, about_sql, main
from tests.support.checkout import REPOSITORY, copy_repository, write_migration
from tests.support.processes import BIN, run_at_terminal


def test_the_repository_has_no_finding(capsys):
    assert main() == 0
    assert capsys.readouterr().out.endswith(": 0 finding(s)\n")


def test_a_finding_is_told_and_fails(tmp_path, capsys):
    checkout = copy_repository(tmp_path / "checkout")
    more = "ALTER TABLE users ADD more bigint NOT NULL"
    write_migration(checkout / "migrations", "1_bad", more, "", first="DROP TABLE streams")
    (checkout / "veupath_store" / "bad.py").write_text("rows = Model.filter(data__filter={key: 1})\n")
    assert main([str(checkout)]) == 1
    out = capsys.readouterr().out
    for finding in (
        "1_bad.py: MODELS_STATE",
        "1_bad.py: downgrade is empty",
        "1_bad.py: line 1 of its SQL: adding-required-field",
        "1_bad.py: line 1 of its SQL: ban-drop-table",
        "veupath_store/bad.py:1: __filter",
    ):
        assert finding in out


def test_a_repository_without_migrations_fails(tmp_path):
    assert main([str(tmp_path)]) == 1


@pytest.fixture
def about(tmp_path):
    """What is said of a migration, each time of a new one."""
    (tmp_path / "store").mkdir()

    def about(sql, downgrade="SELECT 1", **options):
        return about_migration(tmp_path / "store" / write_migration(tmp_path, "1_x", sql, downgrade, **options))

    return about


def test_a_migration_must_say_whether_it_runs_in_a_transaction(tmp_path):
    path, function = tmp_path / "1_x.py", "async def {}(db):\n    return 'SELECT 1'\n"
    path.write_text(function.format("upgrade") + function.format("downgrade"))
    assert any(finding.startswith("RUN_IN_TRANSACTION") for finding in about_migration(path))


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("CREATE INDEX users_idx ON users (created_at)", "require-concurrent-index-creation"),
        ("ALTER TABLE users RENAME COLUMN external_id TO login", "renaming-column"),
        ("ALTER TABLE users ADD CONSTRAINT x CHECK (external_id <> '')", "constraint-missing-not-valid"),
        ("DROP TABLE users", "ban-drop-table"),
        ("SELECT FROM FROM", "syntax-error"),
    ],
)
def test_squawk_sees(sql, rule):
    assert any(rule in finding for finding in about_sql(sql, True))


@pytest.mark.parametrize("source", ['m.filter(x__filter={"a": 1})', 'm.filter(**{"x__filter": v})', "'x__filter'"])
def test_json_filters_are_found(source, tmp_path):
    path = tmp_path / "x.py"
    path.write_text(f"ok = m.filter(x=1)\n{source}\n")
    assert [line.split(":")[0] for line in about_source(path)] == ["2"]


def test_each_excluded_rule_is_one_that_the_first_migration_breaks(monkeypatch):
    """An exclusion that excludes nothing only hides the next finding."""
    monkeypatch.setattr("tests.lint_migrations.EXCLUDED", {})
    (first, *_) = sorted((REPOSITORY / "migrations" / "store").glob("0_*.py"))
    found = " ".join(about_migration(first))
    assert [rule for rule in EXCLUDED if rule not in found] == []


BREAKS_OLD_CODE = (
    ("ALTER TABLE users DROP COLUMN external_id", "ban-drop-column"),
    ("ALTER TABLE users RENAME COLUMN external_id TO login", "renaming-column"),
    ("ALTER TABLE users RENAME TO people", "renaming-table"),
    ("ALTER TABLE users ALTER external_id SET NOT NULL", "adding-not-nullable-field"),
    ("ALTER TABLE streams ALTER site_id DROP NOT NULL", "ban-drop-not-null"),
    ("ALTER TABLE streams ALTER created_at DROP DEFAULT", "ban-drop-default"),
    ("ALTER TABLE streams DROP CONSTRAINT streams_owner_key", "ban-drop-constraint"),
    ("DROP FUNCTION delete_private_control_sets", "ban-drop-function"),
    ("DROP TABLE streams", "ban-drop-table"),
)


@pytest.mark.parametrize(("sql", "rule"), BREAKS_OLD_CODE)
def test_what_breaks_old_code_is_refused_before_the_deploy_and_allowed_after_it(sql, rule, about):
    for phase, refused in ((None, True), ("pre-deploy", True), ("post-deploy", False)):
        findings = about(f"SET LOCAL statement_timeout = 0; {sql}", phase=phase)
        assert any(rule in finding for finding in findings) is refused, (phase, findings)


def test_each_rule_about_old_code_is_tried():
    assert {rule for _, rule in BREAKS_OLD_CODE} == AFTER_DEPLOY


def test_what_stalls_the_application_is_refused_after_the_deploy_too(about):
    for sql, rule in (
        ("CREATE INDEX users_idx ON users (created_at)", "require-concurrent-index-creation"),
        ("ALTER TABLE streams ALTER site_id TYPE text", "changing-column-type"),
    ):
        assert any(rule in finding for finding in about(sql, phase="post-deploy"))


def test_an_index_that_is_built_concurrently_is_dropped_first(about):
    drop = "DROP INDEX CONCURRENTLY IF EXISTS users_idx"
    for create, first, count in (
        ("INDEX CONCURRENTLY users_idx", drop, 0),
        ("INDEX CONCURRENTLY users_idx", "SELECT 1", 1),
        ("UNIQUE INDEX CONCURRENTLY other_idx", drop, 1),
        ("INDEX CONCURRENTLY IF NOT EXISTS users_idx", drop, 1),
    ):
        findings = about(f"CREATE {create} ON users (created_at)", first=first, in_transaction=False)
        assert sum("index" in finding for finding in findings) == count, create


def test_a_downgrade_cannot_be_concurrent(about):
    assert any("CONCURRENTLY" in finding for finding in about("SELECT 1", "DROP INDEX CONCURRENTLY users_idx"))


FIRST = "0_20270101000000_a.py"


@pytest.mark.parametrize(
    ("names", "findings"),
    [
        ("1_20270102000000_b.py", []),
        ("1_b.py 2_2027_c.py", ["1_b.py: its name must be", "2_2027_c.py: its name"]),
        ("01_20270102000000_b.py", ["01_20270102000000_b.py: its name must be"]),
        (
            "1_20270103000000_c.py 1_20270102000000_b.py",
            ["1_20270103000000_c.py: 1_20270102000000_b.py has the same number"],
        ),
        (
            "10_20270102000000_b.py 8_20270101120000_c.py",
            [
                "8_20270101120000_c.py: no file has the number 1, 2, 3, 4, 5, 6, 7",
                "10_20270102000000_b.py: no file has",
            ],
        ),
        (
            "1_20270103000000_late.py 2_20270102000000_b.py",
            ["2_20270102000000_b.py: 1_20270103000000_late.py is before it and is not older"],
        ),
    ],
)
def test_a_file_of_two_branches_that_would_run_in_two_orders_is_found_by_its_name(names, findings):
    found = about_names([FIRST, *names.split()])
    assert len(found) == len(findings), found
    for one, expected in zip(found, findings, strict=True):
        assert one.startswith(expected)


def test_the_first_file_has_the_number_zero():
    [found] = about_names(["1_20270102000000_b.py"])
    assert found.startswith("1_20270102000000_b.py: no file has the number 0")


RENAMED = 'ALTER TABLE "users" ADD "login" VARCHAR(255);\nALTER TABLE "users" DROP COLUMN "external_id";'


@pytest.mark.parametrize("sql", [RENAMED, "ALTER TABLE users ADD login text, DROP external_id"])
def test_a_rename_that_was_made_a_drop_and_an_add_is_found_after_the_deploy_too(sql, about):
    findings = about(f"SET LOCAL statement_timeout = 0; {sql}", phase="post-deploy")
    (finding,) = [one for one in findings if "MODELS_STATE" not in one]
    assert finding.startswith("users gets a column and loses one")


@pytest.mark.parametrize("sql", ["", "\n        ", "-- later\n", ";"])
def test_a_file_that_was_not_filled_in_is_found(sql, about):
    assert any(finding.startswith("upgrade gives no SQL") for finding in about(sql))


@pytest.mark.large
def test_what_aerich_makes_of_a_json_field_with_a_default_and_of_a_rename_is_found(tmp_path):
    checkout = copy_repository(tmp_path / "checkout")
    model = checkout / "veupath_store" / "models" / "user.py"
    before = model.read_text()
    there = len(list((checkout / "migrations" / "store").glob("[0-9]*_*.py")))
    renamed = before.replace("    external_id: fields", "    login: fields")
    added = before.replace("    class Meta:", "    labels = fields.JSONField[list](default=list)\n\n    class Meta:", 1)
    for text, answer, expected in (
        (added, b"", {"adding-required-field"}),
        (renamed, b"n\n", {"users gets a column and loses one", "ban-drop-column"}),
        (renamed, b"y\n", {"renaming-column"}),
    ):
        assert text != before
        model.write_text(text)
        command, url = (BIN / "aerich", "migrate", "--offline"), "postgresql://x@127.0.0.1:1/x"
        made = asyncio.run(run_at_terminal(*command, cwd=checkout, typed=answer, DATABASE_URL=url))
        assert made.code == 0, made
        (path,) = (checkout / "migrations" / "store").glob(f"{there}_*.py")
        found = " ".join(about_migration(path))
        assert [one for one in expected if one not in found] == [], found
        path.unlink()
