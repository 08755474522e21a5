"""What outlives the process: machines, jobs and their runs, events, audit. SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

from jupyter_cloudml.clock import Clock, SystemClock
from jupyter_cloudml.config import Config
from jupyter_cloudml.store.computer import own_name
from jupyter_cloudml.store.engine import Database, StoreError, open_database
from jupyter_cloudml.store.events import AuditRepository, EventRepository
from jupyter_cloudml.store.jobs.claims import ClaimRepository
from jupyter_cloudml.store.jobs.counts import Counts
from jupyter_cloudml.store.jobs.definitions import JobRepository
from jupyter_cloudml.store.jobs.files import FileRepository
from jupyter_cloudml.store.jobs.firing import FiringRepository
from jupyter_cloudml.store.jobs.hooks import HookRepository
from jupyter_cloudml.store.jobs.keeping import KeepingRepository
from jupyter_cloudml.store.jobs.notices import NoticeRepository
from jupyter_cloudml.store.jobs.pages import PageRepository
from jupyter_cloudml.store.jobs.pools import PoolRepository
from jupyter_cloudml.store.jobs.results import ResultRepository
from jupyter_cloudml.store.jobs.runs import RunRepository
from jupyter_cloudml.store.jobs.servers import ServerRepository
from jupyter_cloudml.store.jobs.watches import WatchRepository
from jupyter_cloudml.store.machines import MachineRecord, MachineRepository
from jupyter_cloudml.store.migrations import upgrade

__all__ = ["MachineRecord", "Store", "StoreError"]


class Store:
    """One repository per noun over one database. Thread-safe."""

    def __init__(self, database: Database, clock: Clock | None = None, computer: str = "") -> None:
        """`computer` names this one among those that share the database; "": it is this one's alone."""
        self.database, self.computer = database, computer
        self.machines = MachineRepository(database)
        self.jobs = JobRepository(database, computer)
        self.firing = FiringRepository(database)
        self.runs = RunRepository(database)
        self.hooks = HookRepository(database)
        self.pages = PageRepository(database)
        self.claims = ClaimRepository(database, computer)
        self.counts = Counts(database)
        self.pools = PoolRepository(database)
        self.results = ResultRepository(database)
        # Files of runs lie in the home folder; where several computers share the database, also in that.
        self.files = FileRepository(database) if computer else None
        self.keeping = KeepingRepository(database)
        self.servers = ServerRepository(database)
        self.watches = WatchRepository(database)
        self.notices = NoticeRepository(database)
        self.events = EventRepository(database)
        self.audit = AuditRepository(database, clock or SystemClock())

    @classmethod
    def open(cls, config: Config | None = None, clock: Clock | None = None) -> Store:
        """Open the configured database and bring its tables up to date. Raises StoreError, UsageError."""
        config = config or Config.from_environ()
        database = open_database(config)
        try:
            upgrade(database)
        except BaseException:
            database.close()
            raise
        return cls(database, clock, own_name(config.home) if config.database else "")

    def close(self) -> None:
        """Close the database."""
        self.database.close()
