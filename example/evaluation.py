"""The job that runs an experiment. It saves what it has after each round, so that another worker can go on."""

import asyncio
import os
import random
from typing import Final

from pydantic import BaseModel

from veupath_store import Event, ExperimentRepository, JobContext, Projector
from veupath_store.models import ExperimentRow

ROUNDS: Final = 20
ROUND_SECONDS: Final = float(os.environ.get("EXAMPLE_ROUND_SECONDS", "0.25"))
"""How long one round takes."""


async def evaluate(job: JobContext) -> None:
    """Run the experiment that has the operation's id, from where it stands."""
    experiment = await ExperimentRepository().for_user(job.lease.user_id).get_by_id(job.lease.operation_id)
    if experiment is None:
        return  # deleted meanwhile
    run = _Run(job, experiment)
    try:
        await run.go_on()
    except asyncio.CancelledError:
        if job.cancel_requested.is_set():
            await run.set_status("cancelled")
        raise


class _Document(BaseModel):
    """What is read of an experiment's document, which is JSON to the store."""

    rounds: int
    scores: list[float]


class _Run:
    """One worker's part of an experiment."""

    def __init__(self, job: JobContext, experiment: ExperimentRow) -> None:
        self._job = job
        self._experiment = experiment
        document = _Document.model_validate(experiment.data)
        self._rounds, self._scores = document.rounds, document.scores

    async def go_on(self) -> None:
        """The rounds that are left."""
        await self.set_status("running")
        while len(self._scores) < self._rounds:
            await asyncio.sleep(ROUND_SECONDS)  # the work; no connection is held meanwhile
            self._scores.append(round(random.uniform(0.6, 0.95), 3))  # noqa: S311 - a stand-in for a measurement
            async with self._job.session() as session:  # a worker that has lost its lease saves nothing
                await ExperimentRepository(session).patch_field(self._experiment.id, "scores", [*self._scores])
            progress = {"done": len(self._scores), "of": self._rounds, "score": self._scores[-1]}
            await Projector().append_to_operation(self._job.lease.operation_id, [Event(type="progress", data=progress)])
        await self.set_status("done", complete=True)

    async def set_status(self, status: str, *, complete: bool = False) -> None:
        """Save a new status with what the document holds by now: a researcher's remark may have come in between."""
        experiment = self._experiment
        async with self._job.session(complete=complete) as session:
            experiments = ExperimentRepository(session)
            version = await experiments.patch_field(experiment.id, "scores", [*self._scores])  # locks the row, too
            stored = await experiments.get_by_id(experiment.id)
            await experiments.save(
                experiment.id,
                user_id=experiment.user_id,
                site_id=experiment.site_id,
                name=experiment.name,
                status=status,
                data=stored.data if stored is not None else experiment.data,
                version=version,
            )
