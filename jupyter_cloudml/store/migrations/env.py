"""What Alembic runs: the migrations, inside the transaction and under the lock that `upgrade` holds."""

from __future__ import annotations

from alembic import context

from jupyter_cloudml.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
