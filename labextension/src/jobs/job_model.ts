import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { singly } from './flight';
import { JobsModel } from './model';
import { RUN_GROUPS } from './narrow';
import { Paged } from './paged';
import { IJob, IPreview, IRun, IRunEvent } from './types';

/** Events come in bursts; one look answers those of this many ms. */
const SETTLE = 300;

/** One job: its definition, when it runs, and what ran. */
export class JobModel extends Observable {
  /** What ran, the newest first. */
  readonly runs: Paged<IRun>;

  constructor(
    readonly name: string,
    readonly jobs: JobsModel
  ) {
    super();
    this.runs = new Paged(`runs-of-${name}`, async before => {
      const { runs, next, counts } = await jobs.client.runs({
        job: name,
        state: RUN_GROUPS[this._only],
        before,
        limit: 25,
        counts: true
      });
      return { rows: runs, next, counts };
    });
    this.runs.changed.connect(this._onRuns, this);
    jobs.jobMoved.connect(this._onJob, this);
    jobs.runMoved.connect(this._onRun, this);
    void this.refresh();
  }

  /** Null before the first answer. */
  get job(): IJob | null {
    return this._job;
  }

  /** Which of its runs are shown, of RUN_GROUPS; "" is all. */
  get only(): string {
    return this._only;
  }

  set only(value: string) {
    this._only = value;
    this.runs.restart();
  }

  /** How many of its last thousand runs are in each state; null before the first answer. */
  get counts(): Readonly<Record<string, number>> | null {
    return this.runs.counts;
  }

  /** Its triggers in words, in their order; null before the first answer, an error where one cannot be told. */
  get previews(): ReadonlyArray<IPreview | CloudMLError> | null {
    return this._previews;
  }

  get error(): CloudMLError | null {
    return this._error;
  }

  /** Look again. One look goes on at a time. */
  readonly refresh = singly(() => this._load());

  protected override release(): void {
    window.clearTimeout(this._timer);
    this.jobs.jobMoved.disconnect(this._onJob, this);
    this.jobs.runMoved.disconnect(this._onRun, this);
    this.runs.dispose();
  }

  private async _load(): Promise<void> {
    try {
      const before = this._job?.rev;
      const job = (this._job = await this.jobs.client.job(this.name));
      this._error = null;
      this.emit();
      if (!this._previews || before !== job.rev || this._isPast()) {
        this._previews = await Promise.all(
          (job.definition.triggers ?? []).map(trigger =>
            this.jobs.client.preview(trigger).catch(CloudMLError.from)
          )
        );
      }
    } catch (reason) {
      this._error = CloudMLError.from(reason);
    }
    this.emit();
  }

  private _onJob(_: JobsModel, name: string): void {
    if (name === this.name) {
      void this.refresh();
    }
  }

  private _onRun(_: JobsModel, event: IRunEvent): void {
    // An event may name a run by its job or not: a look at one page costs little.
    if (event.job === undefined || event.job === this.name || event.job === this._job?.id) {
      this.runs.touch();
      this._lookSoon();
    }
  }

  private _onRuns(): void {
    this.emit();
    if (this._isPast()) {
      this._lookSoon();
    }
  }

  /** Whether a time that is told as the next one has passed, or there was no answer to tell one. */
  private _isPast(): boolean {
    const firsts = (this._previews ?? []).map(each =>
      each instanceof CloudMLError ? 0 : (each.next_ms[0] ?? Infinity)
    );
    return Math.min(this._job?.next_due_ms ?? Infinity, ...firsts) < this.jobs.now();
  }

  /** Look again soon, once, however often this is said until then. */
  private _lookSoon(): void {
    this._timer ||= window.setTimeout(() => {
      this._timer = 0;
      void this.refresh();
    }, SETTLE);
  }

  private _job: IJob | null = null;
  private _previews: ReadonlyArray<IPreview | CloudMLError> | null = null;
  private _error: CloudMLError | null = null;
  private _only = '';
  private _timer = 0;
}
