"""Index rows of what lies in storage: log segments, output files, working directories."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class LogSegment(Base):
    """Bytes start_offset .. start_offset + size_bytes of an attempt's log."""

    __tablename__ = "log_segments"

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    start_offset: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size_bytes: Mapped[int]
    stored_at: Mapped[datetime] = mapped_column(Timestamp)


class OutputFile(Base):
    """A file that an attempt kept. complete: storage has all of it."""

    __tablename__ = "output_files"

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    size_bytes: Mapped[int]
    sha256: Mapped[str]
    complete: Mapped[bool] = mapped_column(default=False)
    declared_at: Mapped[datetime] = mapped_column(Timestamp)


class Workdir(Base):
    """An archive that an organization sent, under the hash of its bytes."""

    __tablename__ = "workdirs"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    size_bytes: Mapped[int]
    declared_at: Mapped[datetime] = mapped_column(Timestamp)
