"""The tables as the replaced layer declared them: SQLAlchemy models with JSON columns."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, ForeignKeyConstraint, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def _now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """What all of them share."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it once
        dict[str, Any]: JSONB,
        list[str]: JSONB,
        datetime: DateTime(timezone=True),
    }


class User(Base):
    """The users table."""

    __tablename__ = "users"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    external_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=_now)


class Stream(Base):
    """The streams table."""

    __tablename__ = "streams"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    site_id: Mapped[str] = mapped_column(String(50))
    experiment_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(default=_now)


class StreamProjection(Base):
    """The stream_projections table."""

    __tablename__ = "stream_projections"
    __table_args__ = (ForeignKeyConstraint(["user_id", "stream_id"], ["streams.user_id", "streams.id"]),)
    stream_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    site_id: Mapped[str] = mapped_column(String(50))
    name: Mapped[str] = mapped_column(String(255))
    record_type: Mapped[str | None] = mapped_column(String(100))
    wdk_strategy_id: Mapped[int | None] = mapped_column(BigInteger)
    is_saved: Mapped[bool] = mapped_column(default=False)
    model_id: Mapped[str | None] = mapped_column(String(100))
    message_count: Mapped[int] = mapped_column(default=0)
    step_count: Mapped[int] = mapped_column(default=0)
    plan: Mapped[dict[str, Any]] = mapped_column(default=dict)
    result_count: Mapped[int | None]
    last_event_id: Mapped[str | None] = mapped_column(String(41))
    updated_at: Mapped[datetime] = mapped_column(default=_now, onupdate=_now)
    dismissed_at: Mapped[datetime | None]
    dismissed_reason: Mapped[str | None] = mapped_column(String(20))
    gene_set_id: Mapped[UUID | None]
    gene_set_auto_imported: Mapped[bool] = mapped_column(default=False)
    stream: Mapped[Stream] = relationship()


class ControlSet(Base):
    """The control_sets table."""

    __tablename__ = "control_sets"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(255))
    site_id: Mapped[str] = mapped_column(String(100))
    record_type: Mapped[str] = mapped_column(String(100))
    positive_ids: Mapped[list[str]]
    negative_ids: Mapped[list[str]]
    source: Mapped[str | None] = mapped_column(String(50))
    tags: Mapped[list[str]]
    provenance_notes: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(default=1)
    is_public: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=_now)


class ExperimentRow(Base):
    """The experiments table."""

    __tablename__ = "experiments"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    site_id: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(20))
    data: Mapped[dict[str, Any]]
    batch_id: Mapped[str | None] = mapped_column(String(50))
    benchmark_id: Mapped[str | None] = mapped_column(String(50))
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=_now)
    updated_at: Mapped[datetime] = mapped_column(default=_now, onupdate=_now)


class GeneSetRow(Base):
    """The gene_sets table, as far as a purge needs it."""

    __tablename__ = "gene_sets"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))


class Operation(Base):
    """The operations table, without the lease, which the replaced layer did not have."""

    __tablename__ = "operations"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    stream_id: Mapped[UUID | None]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    type: Mapped[str] = mapped_column(String(50))
    status: Mapped[str] = mapped_column(String(20), default="active")
    created_at: Mapped[datetime] = mapped_column(default=_now)
    completed_at: Mapped[datetime | None]
