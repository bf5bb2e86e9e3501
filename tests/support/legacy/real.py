"""A legacy database that was used as it should be: the real strategies, each with all that belongs to it."""

from datetime import timedelta

from tests.support.legacy.rows import World, later, text

COPIED = ("searchName", "operator", "parameters", "displayName", "colocationParams")
INPUTS = ("primaryInput", "secondaryInput")


def flat_steps(node) -> list[dict]:
    """The steps of a plan as the replaced layer stored them, inputs first."""
    inputs = {name: node[name] for name in INPUTS if node.get(name)}
    step = {
        "id": node["id"],
        "kind": "combine" if node.get("operator") else "transform" if inputs else "search",
        **{name: node[name] for name in COPIED if name in node},
        **{f"{name}StepId": inputs[name]["id"] for name in inputs},
    }
    return [*(step for name in INPUTS if name in inputs for step in flat_steps(inputs[name])), step]


def real_world(strategies) -> World:
    """Three people, and each strategy as a conversation with an experiment, sets and an operation. Nothing to fix."""
    world = World()
    people = [world.user()["id"], world.user(external_id=None)["id"], world.user()["id"]]
    for number, strategy in enumerate(strategies):
        person, site, plan = people[number % 3], strategy["site_id"], strategy["plan"]
        control = strategy["control_set"]
        world.control_set(
            user_id=None if number % 5 == 0 else person,
            is_public=number % 5 == 0,
            site_id=site,
            name=control["name"],
            **{name: text(control[name]) for name in ("positive_ids", "negative_ids", "tags")},
        )
        experiment = world.experiment(
            user_id=person,
            site_id=site,
            name=strategy["name"],
            data=text({"plan": plan, "isPrimary": number % 4 == 0, "score": number / 7}),
            batch_id=f"batch_{number % 6}",
            benchmark_id=f"bench_{number % 4}",
        )
        parent = world.gene_set(user_id=person, site_id=site, gene_ids=text(control["negative_ids"]))
        genes = world.gene_set(
            user_id=person,
            site_id=site,
            gene_ids=text(control["positive_ids"]),
            parent_set_ids=text([parent["id"]]),
            source="derived",
            operation="minus",
        )
        steps = flat_steps(plan["root"])
        chat = world.chat(
            person,
            stream={"experiment_id": experiment["id"] if number % 2 else None},
            site_id=site,
            name=strategy["name"],
            plan=text(plan),
            steps=text(steps),
            root_step_id=plan["root"]["id"],
            step_count=len(steps),
            wdk_strategy_id=330_000_000 + number,
            is_saved=number % 3 == 0,
            result_count=number * 11,
            gene_set_id=genes["id"] if number % 2 else None,
            gene_set_auto_imported=number % 4 == 1,
            dismissed_at=later(10_000 + number) if number % 7 == 6 else None,
        )
        chat["updated_at"] = later(5_000) + timedelta(microseconds=number)
        world.operation(chat["stream_id"])
        world.operation(chat["stream_id"], status=("failed", "cancelled")[number % 2], completed_at=None)
    return world
