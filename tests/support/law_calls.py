"""The repositories' calls, by the names that `law_steps` has for them, in a world of few things."""

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


class Calls:
    """One method for each kind of `Call`, by its name; done in a session or without one."""

    def __init__(self, things: Things, session: Session | None) -> None:
        self.things = things
        self.session = session
        self.streams = StreamRepository(session)

    async def create(self, user, site, stream, name) -> Written:
        identity = None if stream is None else SEEDS[stream % len(SEEDS)]
        made = await self.streams.create(USERS[user], site, stream_id=identity, name=name)
        return {made.id: {"name": made.projection.name, "message_count": 0, "plan": {}, "wdk_strategy_id": None}}

    async def ensure(self, user, site, stream, name) -> Written:
        found = await self.streams.ensure(USERS[user], site, SEEDS[stream % len(SEEDS)], name=name)
        return {found.id: {}}

    async def for_experiment(self, user, site, experiment, name) -> Written:
        about = EXPERIMENTS[experiment]
        found = await self.streams.get_or_create_for_experiment(USERS[user], site, about, name=name)
        return {found.id: {}}

    async def patch(self, stream, fields) -> Written:
        identity, given = self.things.stream(stream), self.chosen(fields)
        await self.streams.patch_projection(identity, ProjectionPatch(**given))
        return {identity: set_by(given)}

    async def update(self, stream, fields) -> Written:
        identity, given = self.things.stream(stream), self.chosen(fields)
        clearable = {"wdk_strategy_id", "is_saved", "result_count", "gene_set_id"}
        flags = {f"{column}_set": True for column in clearable & given.keys()}
        await self.streams.update_projection(identity, **given, **flags)
        return {identity: set_by(given)}

    def chosen(self, fields: dict[str, Any]) -> dict[str, Any]:
        number = fields.get("gene_set_id")
        return fields if number is None else {**fields, "gene_set_id": self.things.gene_set(number)}

    async def claim(self, stream, wdk, is_saved) -> Written:
        identity = self.things.stream(stream)
        loser = await self.streams.claim_wdk_strategy(identity, wdk, is_saved=is_saved)
        lost = {} if loser is None else {loser: {"wdk_strategy_id": None, "is_saved": False}}
        return lost | {identity: {"wdk_strategy_id": wdk, "is_saved": is_saved}}

    async def sync(self, user, site, strategies) -> Written:
        report = await self.streams.sync_wdk(USERS[user], site, strategies)
        done = [one for one in report.strategies if one.stream_id is not None]
        return {one.stream_id: {"wdk_strategy_id": one.wdk_strategy_id} for one in done}

    async def dismiss(self, stream) -> Written:
        identity = self.things.stream(stream)
        await self.streams.dismiss(identity)
        return {identity: {"dismissed_reason": ANY}}

    async def restore(self, stream) -> Written:
        identity = self.things.stream(stream)
        await self.streams.restore(identity)
        return {identity: {"dismissed_at": None, "dismissed_reason": None}}

    async def dismiss_orphans(self, user, site, live) -> Written:
        gone = await self.streams.dismiss_wdk_orphans(USERS[user], site, live, max_share=1, allow_empty=True)
        return {stream_id: {"dismissed_reason": "wdk_orphan"} for stream_id in gone}

    async def prune(self, user, site, live) -> Written:
        with suppress(PruneRefusedError):
            gone = await self.streams.prune_wdk_orphans(USERS[user], site, live)
            return {stream_id: {"dismissed_reason": "wdk_orphan"} for stream_id in gone}
        return {}

    async def import_genes(self, stream, automatic) -> Written:
        identity, sets = self.things.stream(stream), GeneSetRepository(self.session)
        made = await sets.import_for_stream(identity, name="genes", gene_ids=["g1"], automatic=automatic)
        return {identity: {"gene_set_id": made.id, "gene_set_auto_imported": True if automatic else ANY}}

    async def delete_genes(self, gene_set) -> Written:
        await GeneSetRepository(self.session).delete(self.things.gene_set(gene_set))
        return {}

    async def delete(self, stream) -> Written:
        await self.streams.delete(self.things.stream(stream))
        return {}

    async def purge(self, user, dismiss, site=None) -> Written:
        mode = PurgeMode.DISMISS if dismiss else PurgeMode.DELETE
        await AccountRepository(self.session).purge(USERS[user], site_id=site, mode=mode)
        if site is None:
            await UserRepository(self.session).get_or_create(USERS[user])
        return {}

    async def delete_user(self, user) -> Written:
        await UserRepository(self.session).delete(USERS[user])
        await UserRepository(self.session).get_or_create(USERS[user])
        return {}

    async def do(self, call: Any) -> Written:
        return await getattr(self, call.kind)(**call.given)


def set_by(fields: dict[str, Any]) -> dict[str, Any]:
    """What a patch must leave in the row."""
    written = {column: value for column, value in fields.items() if column != "gene_set_auto_imported"}
    if fields.get("gene_set_auto_imported"):
        written["gene_set_auto_imported"] = True
    return written | ({"name": ANY} if "name" in fields else {})
