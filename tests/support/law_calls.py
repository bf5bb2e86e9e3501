"""The repositories' calls, by the names that `law_steps` has for them, in a world of few things."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from veupath_store.errors import PruneRefusedError
from veupath_store.repositories import AccountRepository, GeneSetRepository, StreamRepository, UserRepository
from veupath_store.session.unit_of_work import Session
from veupath_store.values import ProjectionPatch, PurgeMode

Written = dict[UUID, dict[str, Any]]
"""What a call has set: values by column, by conversation; `ANY` where the call decides."""

ANY = object()
USERS = [uuid5(NAMESPACE_OID, f"user {n}") for n in range(2)]
SEEDS = [uuid5(NAMESPACE_OID, f"stream {n}") for n in range(5)]
EXPERIMENTS = [uuid5(NAMESPACE_OID, f"experiment {n}") for n in range(2)]


class Things:
    """What there is to choose from: the conversations and gene sets that were there after the last step."""

    def __init__(self) -> None:
        self.streams: list[UUID] = []
        self.gene_sets: list[UUID] = []

    def stream(self, number: int) -> UUID:
        """Mostly one that is there; for 9 one that may be gone."""
        chosen = SEEDS if number == 9 or not self.streams else self.streams
        return chosen[number % len(chosen)]

    def gene_set(self, number: int) -> UUID:
        return self.gene_sets[number % len(self.gene_sets)] if self.gene_sets else SEEDS[0]


async def create(things: Things, session: Session | None, user, site, stream, name) -> Written:
    identity = None if stream is None else SEEDS[stream % len(SEEDS)]
    made = await StreamRepository(session).create(USERS[user], site, stream_id=identity, name=name)
    return {made.id: {"name": made.projection.name, "message_count": 0, "plan": {}, "wdk_strategy_id": None}}


async def ensure(things: Things, session: Session | None, user, site, stream, name) -> Written:
    found = await StreamRepository(session).ensure(USERS[user], site, SEEDS[stream % len(SEEDS)], name=name)
    return {found.id: {}}


async def for_experiment(things: Things, session: Session | None, user, site, experiment, name) -> Written:
    streams = StreamRepository(session)
    found = await streams.get_or_create_for_experiment(USERS[user], site, EXPERIMENTS[experiment], name=name)
    return {found.id: {}}


def chosen(things: Things, fields: dict[str, Any]) -> dict[str, Any]:
    given = dict(fields)
    if given.get("gene_set_id") is not None:
        given["gene_set_id"] = things.gene_set(given["gene_set_id"])
    return given


def set_by(fields: dict[str, Any]) -> dict[str, Any]:
    """What a patch must leave in the row."""
    written = {column: value for column, value in fields.items() if column != "gene_set_auto_imported"}
    if fields.get("gene_set_auto_imported"):
        written["gene_set_auto_imported"] = True
    return written | ({"name": ANY} if "name" in fields else {})


async def patch(things: Things, session: Session | None, stream, fields) -> Written:
    identity, given = things.stream(stream), chosen(things, fields)
    await StreamRepository(session).patch_projection(identity, ProjectionPatch(**given))
    return {identity: set_by(given)}


async def update(things: Things, session: Session | None, stream, fields) -> Written:
    identity, given = things.stream(stream), chosen(things, fields)
    flags = {f"{column}_set": True for column in ("wdk_strategy_id", "is_saved", "result_count", "gene_set_id")}
    flags = {flag: True for flag in flags if flag.removesuffix("_set") in given}
    await StreamRepository(session).update_projection(identity, **given, **flags)
    return {identity: set_by(given)}


async def claim(things: Things, session: Session | None, stream, wdk, is_saved) -> Written:
    identity = things.stream(stream)
    loser = await StreamRepository(session).claim_wdk_strategy(identity, wdk, is_saved=is_saved)
    lost = {} if loser is None else {loser: {"wdk_strategy_id": None, "is_saved": False}}
    return lost | {identity: {"wdk_strategy_id": wdk, "is_saved": is_saved}}


async def sync(things: Things, session: Session | None, user, site, strategies) -> Written:
    report = await StreamRepository(session).sync_wdk(USERS[user], site, strategies)
    return {
        done.stream_id: {"wdk_strategy_id": done.wdk_strategy_id}
        for done in report.strategies
        if done.stream_id is not None
    }


async def dismiss(things: Things, session: Session | None, stream) -> Written:
    await StreamRepository(session).dismiss(things.stream(stream))
    return {things.stream(stream): {"dismissed_reason": ANY}}


async def restore(things: Things, session: Session | None, stream) -> Written:
    await StreamRepository(session).restore(things.stream(stream))
    return {things.stream(stream): {"dismissed_at": None, "dismissed_reason": None}}


async def dismiss_orphans(things: Things, session: Session | None, user, site, live) -> Written:
    gone = await StreamRepository(session).dismiss_wdk_orphans(USERS[user], site, live, max_share=1, allow_empty=True)
    return {stream_id: {"dismissed_reason": "wdk_orphan"} for stream_id in gone}


async def prune(things: Things, session: Session | None, user, site, live) -> Written:
    with suppress(PruneRefusedError):
        gone = await StreamRepository(session).prune_wdk_orphans(USERS[user], site, live)
        return {stream_id: {"dismissed_reason": "wdk_orphan"} for stream_id in gone}
    return {}


async def import_genes(things: Things, session: Session | None, stream, automatic) -> Written:
    identity = things.stream(stream)
    made = await GeneSetRepository(session).import_for_stream(
        identity, name="genes", gene_ids=["g1"], automatic=automatic
    )
    return {identity: {"gene_set_id": made.id, "gene_set_auto_imported": True if automatic else ANY}}


async def delete_genes(things: Things, session: Session | None, gene_set) -> Written:
    await GeneSetRepository(session).delete(things.gene_set(gene_set))
    return {}


async def delete(things: Things, session: Session | None, stream) -> Written:
    await StreamRepository(session).delete(things.stream(stream))
    return {}


async def purge(things: Things, session: Session | None, user, site, dismiss) -> Written:
    mode = PurgeMode.DISMISS if dismiss else PurgeMode.DELETE
    await AccountRepository(session).purge(USERS[user], site_id=site, mode=mode)
    return {}


async def purge_all(things: Things, session: Session | None, user, dismiss) -> Written:
    mode = PurgeMode.DISMISS if dismiss else PurgeMode.DELETE
    await AccountRepository(session).purge(USERS[user], mode=mode)
    await UserRepository(session).get_or_create(USERS[user])
    return {}


async def delete_user(things: Things, session: Session | None, user) -> Written:
    await UserRepository(session).delete(USERS[user])
    await UserRepository(session).get_or_create(USERS[user])
    return {}


CALLS: dict[str, Callable[..., Awaitable[Written]]] = {
    "create": create,
    "ensure": ensure,
    "for_experiment": for_experiment,
    "patch": patch,
    "update": update,
    "claim": claim,
    "sync": sync,
    "dismiss": dismiss,
    "restore": restore,
    "dismiss_orphans": dismiss_orphans,
    "prune": prune,
    "import_genes": import_genes,
    "delete_genes": delete_genes,
    "delete": delete,
    "purge": purge,
    "purge_all": purge_all,
    "delete_user": delete_user,
}
