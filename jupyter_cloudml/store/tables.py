"""The tables as SQLAlchemy Core sees them; the migrations make them. Times are UTC epoch ms."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from jupyter_cloudml.store.base_tables import audit, event, machine, metadata

__all__ = [
    "artifact",
    "attempt",
    "audit",
    "cell_result",
    "event",
    "job",
    "job_rev",
    "machine",
    "metadata",
    "notebook_file",
    "notice",
    "pool",
    "run",
    "run_edge",
    "run_file",
    "secret_ref",
    "server",
    "snapshot",
    "trigger",
    "watch",
]

# --- jobs: what is to run, what ran, and who runs it ---------------------------------------------

_OPEN = text("ended_ms IS NULL")  # a query has to say it in the same words to use such an index
_OWNED = text("owner IS NOT NULL")
_THERE = text("deleted_ms IS NULL")
_WHOLE = text("sweep_index IS NULL")
# The migrations make these indexes on PostgreSQL as well; to say `postgresql_where` here would have every command import that dialect.


def _of_run() -> ForeignKey:
    return ForeignKey("run.id", ondelete="CASCADE")


job = Table(
    "job",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("rev", Integer, nullable=False),
    Column("spec_json", Text, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("overlap", Text, nullable=False),
    Column("missed", Text, nullable=False),
    Column("catchup_cap", Integer, nullable=False),
    Column("timeout_s", Integer),
    Column("retry_json", Text, nullable=False),
    Column("pool", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger),
    # Of a database that several computers share: where it was defined, and so where its files are.
    Column("computer", Text),
    Column("snapshot_id", Text),  # its notebook as it was then, for those that have no such file
)
# A deleted job gives its name back; its runs stay.
Index("uq_job_name", job.c.name, unique=True, sqlite_where=_THERE)

job_rev = Table(
    "job_rev",
    metadata,
    Column("job_id", Text, ForeignKey("job.id"), primary_key=True),
    Column("rev", Integer, primary_key=True, autoincrement=False),
    Column("spec_json", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("git_commit", Text),
)

trigger = Table(
    "trigger",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("job.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("cron", Text),
    Column("tz", Text),
    Column("at_ms", BigInteger),
    Column("config_json", Text, nullable=False),
    Column("up_job_id", Text),  # the job after whose runs this one fires
    Column("next_due_ms", BigInteger),  # NULL: no time makes it fire
    Column("last_key", Text),
    Column("enabled", Boolean, nullable=False),
    Column("token_sha256", Text),  # of what a webhook has to say; the token itself is kept nowhere
    Index(None, "enabled", "next_due_ms"),
    Index(None, "job_id"),
    Index(None, "up_job_id"),
    quote=True,
)

# Of triggers that have to look at something themselves (git, s3), while they are in force.
watch = Table(
    "watch",
    metadata,
    Column("trigger_id", Text, ForeignKey("trigger.id"), primary_key=True),
    Column("next_look_ms", BigInteger, nullable=False),
    Column("wait_ms", BigInteger, nullable=False),  # how long after the last look that is
    Column("looked_ms", BigInteger),
    Column("mark", Text),  # what was there at the last look; NULL: there was none yet
    Column("failures", Integer, nullable=False),  # in a row
    Column("error_json", Text),
    Column("taken_by", Text),  # the server that is looking
    Index(None, "next_look_ms"),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("notebook_ref", Text, nullable=False),
    Column("code_json", Text, nullable=False),
    Column("env_lock_ref", Text),
    Column("data_versions_json", Text, nullable=False),
    Column("used_ms", BigInteger, nullable=False),  # when it was last taken
    UniqueConstraint("sha256"),
    Index(None, "notebook_ref"),
)

run = Table(
    "run",
    metadata,
    Column(
        "id", Text, primary_key=True
    ),  # begins with its time: the order of ids is that of creation
    Column("job_id", Text, ForeignKey("job.id"), nullable=False),
    Column("job_rev", Integer, nullable=False),
    Column("trigger_id", Text, nullable=False),  # "now:<job id>" of a run that somebody asked for
    Column("fire_key", Text, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("params_json", Text, nullable=False),
    # What it has in place of its definition's, because somebody asked for it.
    Column("changes_json", Text, nullable=False, server_default="{}"),
    Column("cause_json", Text),  # what a trigger found: a commit, the objects that changed
    Column("snapshot_id", Text, ForeignKey("snapshot.id")),
    Column("parent_run_id", Text),  # the sweep that it is part of, else the run that it runs again
    Column("sweep_index", Integer),  # its place in the sweep
    Column("sweep_count", Integer),  # it is a sweep of so many runs
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("fence", BigInteger, nullable=False),  # grows with every owner
    Column("owner", Text),
    Column("lease_until_ms", BigInteger),
    Column("cancel_requested", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("pool", Text),
    Column("priority", Integer, nullable=False),  # the smaller comes first
    Column("created_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger),
    Column("ended_ms", BigInteger),  # set: the state is final
    Column("result_json", Text),  # values that the notebook has told
    Column("computer", Text),  # the only one that can run it: "local" means that one
    Column("machine", Text),  # where it is to run, for claims to pass by machines that are full
    UniqueConstraint("trigger_id", "fire_key"),
    Index(None, "job_id", "id"),
    Index(None, "parent_run_id"),
    Index(None, "snapshot_id"),
)
# What is over is most of the table; what is looked for every second is not over.
for _name, _columns, _where in (
    ("ix_run_claim", ("state", "priority", "not_before_ms", "id"), _OPEN),
    ("ix_run_ripe", ("state", "not_before_ms"), _OPEN),
    ("ix_run_open", ("job_id", "state"), _OPEN),
    ("ix_run_owner", ("owner",), _OWNED),
    # Lists have no runs that are part of a sweep, and there may be a thousand of these between two others.
    ("ix_run_whole", ("id",), _WHOLE),
    ("ix_run_whole_job_id", ("job_id", "id"), _WHOLE),
    ("ix_run_whole_state", ("state", "id"), _WHOLE),
):
    Index(_name, *(run.c[each] for each in _columns), sqlite_where=_where)

attempt = Table(
    "attempt",
    metadata,
    Column("run_id", Text, _of_run(), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("fence", BigInteger, nullable=False),
    Column("server_id", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("process_handle_json", Text, nullable=False),  # written before anything is started
    Column("state", Text, nullable=False),
    Column("exit_json", Text),
    Column("started_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("cost_micros", BigInteger),
)

cell_result = Table(
    "cell_result",
    metadata,
    Column("run_id", Text, _of_run(), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("cell_id", Text, nullable=False),
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("started_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("output_ref", Text),
)

artifact = Table(
    "artifact",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run_id", Text, _of_run(), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("sha256", Text),
    Column("bytes", BigInteger),
    Index(None, "run_id"),
)

# What runs have left, where several computers share the database: pieces of files (zlib), each by where it begins.
run_file = Table(
    "run_file",
    metadata,
    Column("run_id", Text, _of_run(), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),  # of the piece as it is in the file
    Column("data", LargeBinary, nullable=False),
)

notebook_file = Table(
    "notebook_file",
    metadata,
    Column("ref", Text, primary_key=True),  # sha256:… of all of it
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("used_ms", BigInteger, nullable=False),  # when it was last taken
)

database_id = Table(
    "database_id",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=False),  # 1: there is one
    Column("id", Text, nullable=False),
)

server = Table(
    "server",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column(
        "heartbeat_ms", BigInteger, nullable=False
    ),  # differs with every beat, whatever the clock does
    Column("version", Text, nullable=False),
    Column("computer", Text),
)

pool = Table(
    "pool",
    metadata,
    Column("name", Text, primary_key=True),
    Column("cap", Integer, nullable=False),
)

secret_ref = Table(
    "secret_ref",
    metadata,
    Column("job_id", Text, ForeignKey("job.id"), primary_key=True),
    Column("env_name", Text, primary_key=True),
    Column("uri", Text, nullable=False),  # where the secret is; never the secret
)

# Who is to be told of the end of a run, written with that end.
notice = Table(
    "notice",
    metadata,
    Column("run_id", Text, _of_run(), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("address", Text, nullable=False),  # or where it is; never with a password
    Column("about", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("claim", Text),  # of the server that is at it, until not_before_ms
    Column("error", Text),
    Column("sent_ms", BigInteger),
    Index(None, "state", "not_before_ms"),
)

run_edge = Table(
    "run_edge",
    metadata,
    Column("up", Text, _of_run(), primary_key=True),
    Column("down", Text, _of_run(), primary_key=True),
    Column("on", Text, nullable=False),
    Index(None, "down"),
)
