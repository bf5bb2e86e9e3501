"""``python -m example --show``: the application under two web workers and two job workers, disturbed, and counted."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from demo.show import Show
from example.client import Researcher
from example.deployment import Deployment, deployment
from example.evaluation import ROUNDS
from veupath_store import LogReader, close_db, init_db
from veupath_store.inputs.limits import PAGE

STREAMS: Final = 40
PATIENCE: Final = 60.0
HASTE: Final = {"EXAMPLE_TOKEN_SECONDS": "0.06", "EXAMPLE_ROUND_SECONDS": "0.05", "EXAMPLE_LEASE_SECONDS": "2"}


async def tour(environment: Mapping[str, str]) -> int:
    """Run the application, disturb it, and show what comes of that.

    Returns:
        The exit code: 0 when all went as promised, 1 when something did not.
    """
    os.environ.update(environment)
    show = Show()
    await init_db(create_schema=True)
    try:
        with tempfile.TemporaryDirectory() as directory:
            running = deployment({**environment, **HASTE}, workers=2, log=Path(directory) / "log")
            async with running as app, Researcher(app.url, "ada@example.org") as ada:
                show.say(f"The application answers at {app.url}: two web workers, two job workers.", style="bold")
                scenes = _Tour(app, ada, show)
                for scene in (scenes.interrupted, scenes.killed, scenes.cancelled, scenes.restarted):
                    async with asyncio.timeout(PATIENCE):
                        await scene()
        return scenes.end()
    finally:
        await close_db()


@dataclass
class _Tour:
    app: Deployment
    ada: Researcher
    show: Show
    promises: list[tuple[str, str, bool]] = field(default_factory=list)

    async def interrupted(self) -> None:
        """A stream that is cut again and again."""
        self.show.scene("A question, and its answer as it is written; the connection is cut after every nine events")
        conversation = await self.ada.converse()
        await self.ada.ask(conversation, "Find kinases")
        seen: list[str] = []
        text, last, before = "", "", self.ada.connections
        while not seen or seen[-1] != "assistant_message":
            async with aclosing(self.ada.follow_once(f"/conversations/{conversation}/events", last)) as events:
                async for event in events:
                    last, seen, text = event.id, [*seen, event.event], text + _word(event.event, event.data)
                    if len(seen) % 9 == 0 or event.event == "assistant_message":
                        break
        self.show.say(text)
        detail = f"{len(seen)} events over {self.ada.connections - before} connections"
        kept = seen == [event.type for event in await _logged(conversation)]
        self._promise("a stream that is cut resumes without a gap and without a repeat", detail, kept)

    async def killed(self) -> None:
        """A worker that is lost in the middle of a job."""
        self.show.scene("A worker is killed in the middle of an experiment")
        experiment = (await self.ada.call("POST", "/experiments", {"name": "Kinases"}))["id"]
        async with aclosing(self.ada.follow(f"/operations/{experiment}/events")) as progress:
            async for event in progress:
                if json.loads(event.data)["done"] == 6:
                    break
        scores = (await self.ada.call("GET", f"/experiments/{experiment}"))["data"]["scores"]
        for worker in self.app.workers:
            worker.kill()  # whichever has it
        self.show.say(f"Both job workers are killed after round {len(scores)}; another is started.")
        await self.app.start_worker()
        status = await self._ended(experiment)
        stored = await self.ada.call("GET", f"/experiments/{experiment}")
        detail = f"{status}, {len(stored['data']['scores'])} rounds, the first {len(scores)} as they were"
        kept = (status, len(stored["data"]["scores"])) == ("completed", ROUNDS)
        kept = kept and stored["data"]["scores"][: len(scores)] == scores
        self._promise("a job whose worker is lost is ended by another", detail, kept)

    async def cancelled(self) -> None:
        """A job that runs in one process and is cancelled through another."""
        self.show.scene("An experiment is cancelled")
        experiment = (await self.ada.call("POST", "/experiments", {"name": "Kinases"}))["id"]
        async with aclosing(self.ada.follow(f"/operations/{experiment}/events")) as progress:
            await anext(progress)
        await self.ada.call("POST", f"/operations/{experiment}/cancel")
        status = await self._ended(experiment)
        rounds = len((await self.ada.call("GET", f"/experiments/{experiment}"))["data"]["scores"])
        detail, kept = f"{status} after {rounds} rounds of {ROUNDS}", status == "cancelled" and rounds < ROUNDS
        self._promise("a cancel reaches the worker in its own process", detail, kept)

    async def restarted(self) -> None:
        """New web workers under load."""
        self.show.scene(f"The web workers are replaced one after the other while {STREAMS} streams are open")
        conversations = [await self.ada.converse() for _ in range(STREAMS // 4)]
        for conversation in conversations:
            await self.ada.ask(conversation, "Find kinases")
        following = [asyncio.create_task(self._answered(conversations[n % len(conversations)])) for n in range(STREAMS)]
        before = self.ada.connections
        await asyncio.sleep(0.5)  # until all of them are open
        assert self.app.web is not None  # noqa: S101 - it was started
        self.app.web.send_signal(signal.SIGHUP)
        seen = await asyncio.gather(*following)
        logs = [[event.id for event in await _logged(conversation)] for conversation in conversations]
        kept = all(ids == logs[n % len(logs)] for n, ids in enumerate(seen))
        detail = f"{sum(map(len, seen))} events over {self.ada.connections - before} connections"
        self._promise("a rolling restart breaks no stream", detail, kept)

    def end(self) -> int:
        """Show what was promised; the exit code."""
        self.show.heading("What was promised")
        self.show.table(("promise", "seen", "holds"), self.promises)
        return 0 if all(kept for _, _, kept in self.promises) else 1

    def _promise(self, what: str, seen: str, kept: bool) -> None:
        self.promises.append((what, seen, kept))
        self.show.say(f"{seen}.", style="" if kept else "bold red")

    async def _answered(self, conversation: str) -> list[str]:
        ids = []
        async with aclosing(self.ada.follow(f"/conversations/{conversation}/events")) as events:
            async for event in events:
                ids.append(event.id)
                if event.event == "assistant_message":
                    break
        return ids

    async def _ended(self, operation: str) -> str:
        while True:
            status: str = (await self.ada.call("GET", f"/operations/{operation}"))["status"]
            if status != "active":
                return status
            await asyncio.sleep(0.1)


def _word(kind: str, data: str) -> str:
    return str(json.loads(data)["content"]) if kind == "assistant_delta" else ""


async def _logged(conversation: str) -> list[Any]:
    page = await LogReader().page_events(conversation, limit=PAGE)
    return list(page.items)
