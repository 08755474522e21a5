"""One database for several computers: whose a job, a run, a look and a server are, and what runs have left, for all to read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and tables; what is there belongs to whichever computer takes it."""
    for table in ("job", "run", "server"):
        op.add_column(table, sa.Column("computer", sa.Text))
    op.add_column("job", sa.Column("snapshot_id", sa.Text))
    op.add_column("run", sa.Column("machine", sa.Text))
    op.add_column("watch", sa.Column("taken_by", sa.Text))
    # Manifests tell more of an object than they did: the next look takes what is there, and makes no run of it.
    op.execute(
        "UPDATE watch SET mark = NULL WHERE trigger_id IN (SELECT id FROM \"trigger\" WHERE kind = 's3')"
    )
    op.create_table(
        "run_file",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", "at", name="pk_run_file"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name="fk_run_file_run_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "notebook_file",
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("used_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("ref", "at", name="pk_notebook_file"),
    )
    op.create_table(
        "database_id",
        sa.Column("n", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_database_id"),
    )
