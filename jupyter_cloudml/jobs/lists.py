"""Jobs and runs as lists show them: pages, a job with its history, and what goes on now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ..errors import JSON, UsageError
from ..store import Store
from ..store.jobs.applying import Revision
from ..store.jobs.pages import Mark
from ..store.jobs.records import JobRecord, RunRecord, TriggerRecord
from ..store.jobs.watches import WatchRecord
from .definition.definitions import trigger_of
from .definition.plan import plan
from .definition.schedule import describe
from .results import run_to_dict

STRIP = 30  # runs of a job's history
SHOWN = 50  # runs of each kind in a summary
SOON = 5
REVISIONS = 20
BAD_ENDS = ("failed", "timed_out")
AT_WORK = ("claimed", "provisioning", "running", "lost")
Json = dict[str, JSON]


class Lists:
    """What pages and the command line list of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def jobs(
        self,
        *,
        after: str = "",
        limit: int = 50,
        text: str = "",
        only: str = "",
        counts: bool = False,
    ) -> Json:
        """Return jobs by name, those after `after` that have `text` in their name and are of the kind `only`, and what to ask for next; with
        `counts` also how many there are of each kind with that text.
        """
        found = self._store.jobs.page(after=after, limit=limit + 1, text=text, only=only)
        shown = found[:limit]
        more = shown[-1].name if len(found) > limit else None
        told: Json = {"jobs": [*self.told(shown)], "next": more}
        return {**told, "counts": {**self._store.counts.jobs(text)}} if counts else told

    def job(self, name: str) -> Json:
        """Return one job, with its triggers and what is wrong with any of them. Raises NotFound."""
        job = self._store.jobs.get(name)
        watches = {each.trigger_id: each for each in self._store.watches.of(job.id)}
        triggers: list[JSON] = [
            trigger_to_dict(each, watches.get(each.id))
            for each in self._store.jobs.triggers(job.id)
        ]
        found = self._store.jobs.revisions(job.id, REVISIONS + 1)
        before = [*found[1:], None]
        told = [revision_to_dict(new, old) for new, old in zip(found, before, strict=False)]
        return {**self.told([job])[0], "triggers": triggers, "revisions": [*told[:REVISIONS]]}

    def told(self, jobs: Sequence[JobRecord]) -> list[Json]:
        """Return jobs with their next due time and their last runs."""
        ids = [job.id for job in jobs]
        due, strips = self._store.pages.due(ids), self._store.pages.strips(ids, STRIP)
        return [job_to_dict(job, due.get(job.id), strips[job.id]) for job in jobs]

    def runs(
        self,
        *,
        job: str | None = None,
        states: Sequence[str] = (),
        before: str | None = None,
        limit: int = 50,
        counts: bool = False,
    ) -> Json:
        """Return runs, the newest first, and what to ask for next; with `counts` also how many of the last thousand of the job are in each state.

        Raises NotFound for a job that is not there.
        """
        job_id = None if job is None else self._store.jobs.get(job).id
        found = self._store.runs.page(job_id=job_id, states=states, before=before, limit=limit + 1)
        shown = found[:limit]
        more = shown[-1].id if found[limit:] else None
        told: Json = {"runs": [*self.runs_told(shown)], "next": more}
        if counts and job_id is not None:
            told["counts"] = {**self._store.counts.runs(job_id)}
        return told

    def runs_told(self, runs: Sequence[RunRecord]) -> list[Json]:
        """Return runs with the names of their jobs and machines."""
        about = self._store.pages.about(runs)
        return [run_to_dict(run, about.get((run.job_id, run.job_rev))) for run in runs]

    def summary(self, since_ms: int) -> Json:
        """Return what goes on, what has failed since a time, what is due next, and how many runs are not over, by state."""
        at_work = self._store.runs.page(states=AT_WORK, limit=SHOWN)
        failed = self._store.runs.page(states=BAD_ENDS, limit=SHOWN)
        lately = [run for run in failed if (run.ended_ms or 0) >= since_ms]
        soon = self._store.pages.soonest(SOON)
        return {
            "running": [*self.runs_told(at_work)],
            "failed_today": [*self.runs_told(lately)],
            "next": [{"job": name, "due_ms": due_ms} for name, due_ms in soon],
            "counts": dict(self._store.pages.open()),
        }


def revision_to_dict(found: Revision, before: Revision | None) -> Json:
    """Return a revision as a job shows it, with what it has changed of the one before."""
    name = str(found.spec["name"])
    (change,) = plan([found.spec], {} if before is None else {name: before.spec}, ())
    return {
        "rev": found.rev,
        "author": found.author.name or None,
        "git_commit": found.author.git_commit,
        "changes": [] if before is None else change.to_dict()["fields"],
    }


def trigger_to_dict(trigger: TriggerRecord, watch: WatchRecord | None) -> Json:
    """Return a trigger as a job shows it; `error` is why its last look has failed: {code, message, hint, since_ms}."""
    found: Json = {
        "key": trigger.id.partition(":")[2],
        "kind": trigger.kind,
        "words": _words(trigger),
        "next_due_ms": trigger.next_due_ms,
        "last_key": trigger.last_key,
    }
    if watch is not None:
        found |= {
            "next_look_ms": watch.next_look_ms,
            "looked_ms": watch.looked_ms,
            "mark": watch.mark,
            "failures": watch.failures,
            "error": None if watch.error is None else dict(watch.error),
        }
    return found


def _words(trigger: TriggerRecord) -> str:
    try:
        return describe(trigger_of(trigger))
    except UsageError as exc:  # written by another version
        return f"it cannot be used: {exc.message}"


def job_to_dict(job: JobRecord, next_due_ms: int | None, strip: Sequence[Mark] = ()) -> Json:
    """Return a job as it is listed."""
    return {
        "name": job.name,
        "id": job.id,
        "rev": job.rev,
        "paused": job.paused,
        "next_due_ms": next_due_ms,
        "definition": dict(job.spec),
        "strip": [asdict(mark) for mark in strip],
    }
