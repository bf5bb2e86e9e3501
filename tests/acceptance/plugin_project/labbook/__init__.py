"""A lab book: a page is a conversation, what is written on it are events, and an evaluation is a background job."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from veupath_store import ControlSetRepository, Event, JobContext, OperationRepository, Projector, StreamRepository
from veupath_store.models import Stream, StreamProjection
from veupath_store.values import OperationType


async def open_page(user_id: UUID, title: str) -> Stream:
    """A new page of a user's book."""
    return await StreamRepository().for_user(user_id).create(user_id, "plasmodb", name=title)


async def write(stream_id: UUID, text: str) -> None:
    """Write a line on a page."""
    projector = Projector()
    await projector.append(stream_id, [Event(type="user_message", data={"content": text})])
    await projector.catch_up(stream_id)


async def contents(user_id: UUID) -> list[str]:
    """The titles of a book, the newest page first."""
    return [page.name for page in await StreamRepository().for_user(user_id).list_projections(user_id)]


async def put_away(user_id: UUID, untouched_for: timedelta) -> list[str]:
    """Dismiss the pages that nobody has touched for so long; return their titles."""
    streams = StreamRepository().for_user(user_id)
    old: list[StreamProjection] = [
        page for page in await streams.list_projections(user_id) if datetime.now(UTC) - page.updated_at > untouched_for
    ]
    for page in old:
        await streams.dismiss(page.stream_id)
    return [page.name for page in old]


async def request_evaluation(user_id: UUID) -> UUID:
    """Ask for an evaluation, which a worker makes."""
    return (await OperationRepository().register(user_id, OperationType.EXPERIMENT, max_attempts=2)).id


async def evaluate(job: JobContext) -> None:
    """The evaluation: exactly one control set, however often it is begun."""
    async with job.session(complete=True) as session:
        await ControlSetRepository(session).create(
            name="Found",
            site_id="plasmodb",
            record_type="transcript",
            positive_ids=["PF3D7_1133400"],
            negative_ids=[],
            user_id=job.lease.user_id,
        )
