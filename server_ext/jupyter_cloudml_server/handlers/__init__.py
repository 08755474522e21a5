"""The routes under cloudml/api/v1: one module per noun."""

from __future__ import annotations

from jupyter_cloudml_server.handlers import (
    buckets,
    datasets,
    environments,
    executions,
    hooks,
    jobs,
    kernels,
    machines,
    operations,
    pools,
    runs,
    status,
    workspaces,
)
from jupyter_cloudml_server.handlers.base import CloudMLHandler

ROOT = r"/cloudml/api/v1"
_ONE = r"([^/]+)"  # decoded and checked by the handler

# In the order in which they are tried: the fixed paths beside machines/{name}, jobs/{name} and runs/{id} come before it.
PATHS: tuple[tuple[str, type[CloudMLHandler]], ...] = (
    (r"/machines", machines.MachinesHandler),
    (r"/machines/suggestions", machines.SuggestionsHandler),
    (r"/machines/schema", machines.AddFormHandler),
    (r"/machines/host-key", machines.HostKeyHandler),
    (rf"/machines/{_ONE}", machines.MachineHandler),
    (rf"/machines/{_ONE}/(start|stop|retry|check)", machines.MachineActionHandler),
    (rf"/machines/{_ONE}/gauges", machines.MachineGaugesHandler),
    (rf"/machines/{_ONE}/processes", machines.ProcessesHandler),
    (rf"/machines/{_ONE}/environments", environments.EnvironmentsHandler),
    (rf"/machines/{_ONE}/environments/{_ONE}", environments.EnvironmentHandler),
    (rf"/machines/{_ONE}/environments/{_ONE}/log", environments.EnvironmentLogHandler),
    (r"/environments/sources", environments.SourcesHandler),
    (rf"/machines/{_ONE}/drift", environments.DriftHandler),
    (r"/images", environments.ImagesHandler),
    (rf"/machines/{_ONE}/datasets", datasets.DatasetsHandler),
    (r"/buckets/list", buckets.ListingHandler),
    (r"/buckets/measure", buckets.MeasureHandler),
    (r"/buckets/profiles", buckets.ProfilesHandler),
    (r"/operations", operations.OperationsHandler),
    (rf"/operations/{_ONE}", operations.OperationHandler),
    (r"/kernels", kernels.KernelsHandler),
    (rf"/kernels/{_ONE}/gauges", kernels.KernelGaugesHandler),
    (rf"/kernels/{_ONE}/cancel-start", kernels.CancelStartHandler),
    (rf"/kernels/{_ONE}/drift", kernels.KernelDriftHandler),
    (rf"/kernels/{_ONE}/drift/dismiss", kernels.DismissDriftHandler),
    (rf"/kernels/{_ONE}/executions", executions.KernelExecutionsHandler),
    (rf"/kernels/{_ONE}/executions/ack", executions.KernelAcknowledgementHandler),
    (r"/executions", executions.DocumentExecutionsHandler),
    (r"/executions/ack", executions.DocumentAcknowledgementHandler),
    (r"/workspaces", workspaces.WorkspaceHandler),
    (r"/workspaces/changes", workspaces.ChangesHandler),
    (r"/workspaces/snapshots", workspaces.SnapshotsHandler),
    (r"/workspaces/sync", workspaces.SyncHandler),
    (r"/workspaces/pull", workspaces.PullHandler),
    (r"/workspaces/clone", workspaces.CloneHandler),
    (r"/workspaces/refs", workspaces.RefsHandler),
    (r"/workspaces/settle", workspaces.SettleHandler),
    (r"/jobs", jobs.JobsHandler),
    (r"/jobs/schema", jobs.JobSchemaHandler),
    (r"/jobs/preview", jobs.PreviewHandler),
    (r"/jobs/parameters", jobs.ParametersHandler),
    (r"/jobs/selection", jobs.SelectionHandler),
    (rf"/jobs/{_ONE}", jobs.JobHandler),
    (rf"/jobs/{_ONE}/(pause|resume)", jobs.JobPauseHandler),
    (rf"/jobs/{_ONE}/run", jobs.JobRunHandler),
    (rf"/jobs/{_ONE}/backfill", jobs.BackfillHandler),
    (rf"/jobs/{_ONE}/hook", hooks.JobHookHandler),
    (rf"/hooks/{_ONE}", hooks.HookHandler),
    (r"/pools", pools.PoolsHandler),
    (rf"/pools/{_ONE}", pools.PoolHandler),
    (r"/runs", runs.RunsHandler),
    (r"/runs/summary", runs.SummaryHandler),
    (r"/runs/prune", runs.PruneHandler),
    (rf"/runs/{_ONE}", runs.RunHandler),
    (rf"/runs/{_ONE}/(cancel|retry|release)", runs.RunActionHandler),
    (rf"/runs/{_ONE}/keep", runs.RunKeepHandler),
    (rf"/runs/{_ONE}/kernel", runs.RunKernelHandler),
    (rf"/runs/{_ONE}/records", runs.RecordsHandler),
    (rf"/runs/{_ONE}/sources", runs.SourcesHandler),
    (rf"/runs/{_ONE}/notebook", runs.NotebookHandler),
    (rf"/runs/{_ONE}/html", runs.PageHandler),
    (rf"/runs/{_ONE}/file", runs.FileHandler),
    (rf"/runs/{_ONE}/log", runs.LogHandler),
    (r"/status", status.StatusHandler),
    (r"/openapi.json", status.OpenAPIHandler),
    (r"(?:/.*)?", status.UnknownPathHandler),
)


def routes() -> list[tuple[str, type[CloudMLHandler]]]:
    """Return the routing table, without the server's base URL."""
    return [(ROOT + path, handler) for path, handler in PATHS]
