"""Jobs, their runs, and the servers that run them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_OPEN, _OWNED, _THERE = "ended_ms IS NULL", "owner IS NOT NULL", "deleted_ms IS NULL"
_WHOLE = "sweep_index IS NULL"


def _index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    clause = sa.text(where)
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=clause, postgresql_where=clause
    )


def upgrade() -> None:
    """Make the tables of jobs, and note what a machine costs."""
    op.add_column("machine", sa.Column("price_micros", sa.BigInteger))
    op.create_table(
        "job",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("rev", sa.Integer, nullable=False),
        sa.Column("spec_json", sa.Text, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("overlap", sa.Text, nullable=False),
        sa.Column("missed", sa.Text, nullable=False),
        sa.Column("catchup_cap", sa.Integer, nullable=False),
        sa.Column("timeout_s", sa.Integer),
        sa.Column("retry_json", sa.Text, nullable=False),
        sa.Column("pool", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("deleted_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
    )
    _index("uq_job_name", "job", ["name"], _THERE, unique=True)
    op.create_table(
        "job_rev",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("rev", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("spec_json", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("git_commit", sa.Text),
        sa.PrimaryKeyConstraint("job_id", "rev", name="pk_job_rev"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_job_rev_job_id"),
    )
    op.create_table(
        "trigger",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("cron", sa.Text),
        sa.Column("tz", sa.Text),
        sa.Column("at_ms", sa.BigInteger),
        sa.Column("config_json", sa.Text, nullable=False),
        sa.Column("up_job_id", sa.Text),
        sa.Column("next_due_ms", sa.BigInteger),
        sa.Column("last_key", sa.Text),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("token_sha256", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_trigger"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_trigger_job_id"),
    )
    op.create_index("ix_trigger_enabled_next_due_ms", "trigger", ["enabled", "next_due_ms"])
    op.create_index("ix_trigger_job_id", "trigger", ["job_id"])
    op.create_index("ix_trigger_up_job_id", "trigger", ["up_job_id"])
    op.create_table(
        "watch",
        sa.Column("trigger_id", sa.Text, nullable=False),
        sa.Column("next_look_ms", sa.BigInteger, nullable=False),
        sa.Column("wait_ms", sa.BigInteger, nullable=False),
        sa.Column("looked_ms", sa.BigInteger),
        sa.Column("mark", sa.Text),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error_json", sa.Text),
        sa.PrimaryKeyConstraint("trigger_id", name="pk_watch"),
        sa.ForeignKeyConstraint(["trigger_id"], ["trigger.id"], name="fk_watch_trigger_id"),
    )
    op.create_index("ix_watch_next_look_ms", "watch", ["next_look_ms"])
    op.create_table(
        "snapshot",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("notebook_ref", sa.Text, nullable=False),
        sa.Column("code_json", sa.Text, nullable=False),
        sa.Column("env_lock_ref", sa.Text),
        sa.Column("data_versions_json", sa.Text, nullable=False),
        sa.Column("used_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_snapshot"),
        sa.UniqueConstraint("sha256", name="uq_snapshot_sha256"),
    )
    op.create_index("ix_snapshot_notebook_ref", "snapshot", ["notebook_ref"])
    op.create_table(
        "run",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("job_rev", sa.Integer, nullable=False),
        sa.Column("trigger_id", sa.Text, nullable=False),
        sa.Column("fire_key", sa.Text, nullable=False),
        sa.Column("due_ms", sa.BigInteger, nullable=False),
        sa.Column("params_json", sa.Text, nullable=False),
        sa.Column("changes_json", sa.Text, nullable=False, server_default="{}"),
        sa.Column("cause_json", sa.Text),
        sa.Column("snapshot_id", sa.Text),
        sa.Column("parent_run_id", sa.Text),
        sa.Column("sweep_index", sa.Integer),
        sa.Column("sweep_count", sa.Integer),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("lease_until_ms", sa.BigInteger),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("not_before_ms", sa.BigInteger, nullable=False),
        sa.Column("pool", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("started_ms", sa.BigInteger),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("result_json", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_run_job_id"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshot.id"], name="fk_run_snapshot_id"),
        sa.UniqueConstraint("trigger_id", "fire_key", name="uq_run_trigger_id_fire_key"),
    )
    _index(
        "ix_run_claim",
        "run",
        ["state", "priority", "not_before_ms", "id"],
        _OPEN,
    )
    op.create_index("ix_run_job_id_id", "run", ["job_id", "id"])
    _index("ix_run_open", "run", ["job_id", "state"], _OPEN)
    _index("ix_run_owner", "run", ["owner"], _OWNED)
    op.create_index("ix_run_parent_run_id", "run", ["parent_run_id"])
    op.create_index("ix_run_snapshot_id", "run", ["snapshot_id"])
    _index("ix_run_ripe", "run", ["state", "not_before_ms"], _OPEN)
    _index("ix_run_whole", "run", ["id"], _WHOLE)
    _index("ix_run_whole_job_id", "run", ["job_id", "id"], _WHOLE)
    _index("ix_run_whole_state", "run", ["state", "id"], _WHOLE)
    op.create_table(
        "attempt",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("server_id", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("process_handle_json", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("exit_json", sa.Text),
        sa.Column("started_ms", sa.BigInteger),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("cost_micros", sa.BigInteger),
        sa.PrimaryKeyConstraint("run_id", "n", name="pk_attempt"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name="fk_attempt_run_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "cell_result",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("cell_id", sa.Text, nullable=False),
        sa.Column("idx", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("started_ms", sa.BigInteger),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("output_ref", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "attempt", "idx", name="pk_cell_result"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name="fk_cell_result_run_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "artifact",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text),
        sa.Column("bytes", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_artifact"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name="fk_artifact_run_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_artifact_run_id", "artifact", ["run_id"])
    op.create_table(
        "server",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("heartbeat_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_server"),
    )
    op.create_table(
        "pool",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("cap", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_pool"),
    )
    op.create_table(
        "secret_ref",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("env_name", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "env_name", name="pk_secret_ref"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name="fk_secret_ref_job_id"),
    )
    op.create_table(
        "notice",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("n", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("not_before_ms", sa.BigInteger, nullable=False),
        sa.Column("claim", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("sent_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("run_id", "n", name="pk_notice"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name="fk_notice_run_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_notice_state_not_before_ms", "notice", ["state", "not_before_ms"])
    op.create_table(
        "run_edge",
        sa.Column("up", sa.Text, nullable=False),
        sa.Column("down", sa.Text, nullable=False),
        sa.Column("on", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("up", "down", name="pk_run_edge"),
        sa.ForeignKeyConstraint(["up"], ["run.id"], name="fk_run_edge_up", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["down"], ["run.id"], name="fk_run_edge_down", ondelete="CASCADE"),
    )
    op.create_index("ix_run_edge_down", "run_edge", ["down"])
