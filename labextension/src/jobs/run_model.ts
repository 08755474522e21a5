import { Poll } from '@lumino/polling';

import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { singly } from './flight';
import { RunCells } from './fold';
import { JobsModel } from './model';
import { IRunDetail, IRunEvent } from './types';
import { isOver } from './words';

/** Events push what a run says; this look, in ms, is for a run that another server follows and for what was lost. */
const LOOK = 2_000;
/** Between two looks at a run that says much, in ms. */
const SOON = 100;

/** Between two looks at a run that is over while somebody is still to be told of it, in ms. */
const TOLD = 5_000;
/** The longest that a timer of a browser may be, in ms. */
const LONGEST = 2 ** 31 - 1;

/** One run, followed until it is over. */
export class RunModel extends Observable {
  /** `visible`: whether somebody looks at it; what is known already is not asked for anew otherwise. */
  constructor(
    readonly id: string,
    readonly jobs: JobsModel,
    visible: () => boolean = () => true
  ) {
    super();
    this._poll = new Poll({
      name: `jupyter-cloudml:run-${id}`,
      auto: false,
      // What was read is applied once: a look that is asked for during another one begins after it.
      factory: singly(() => this._look()),
      frequency: { interval: LOOK, backoff: true, max: 15_000 },
      standby: () => this._run !== null && (document.hidden || !visible())
    });
    jobs.runMoved.connect(this._onMoved, this);
    jobs.recordsCame.connect(this._onRecords, this);
    void this._poll.start();
  }

  /** Null before the first answer. */
  get run(): IRunDetail | null {
    return this._run;
  }

  /** The cells of the last attempt; null where none has begun. */
  get cells(): RunCells | null {
    return this._cells;
  }

  /** The kernel that it has left, until its time is over. */
  get kept(): NonNullable<IRunDetail['kept']> | null {
    const kept = this._run?.kept;
    return kept && kept.until_ms > this.jobs.now() ? kept : null;
  }

  /** Why the last look failed, or null. */
  get error(): CloudMLError | null {
    return this._error;
  }

  /** Look again, at everything. */
  async refresh(): Promise<void> {
    this._stale = true;
    await this._poll.refresh();
    await this._poll.tick.catch(() => undefined);
  }

  /** Have the run end; its state says when it has. */
  async cancel(): Promise<void> {
    await this.jobs.client.cancel(this.id);
    await this.refresh();
  }

  protected override release(): void {
    window.clearTimeout(this._soon);
    window.clearTimeout(this._ending);
    this.jobs.runMoved.disconnect(this._onMoved, this);
    this.jobs.recordsCame.disconnect(this._onRecords, this);
    this._poll.dispose();
  }

  private async _look(): Promise<void> {
    let isGone = false;
    try {
      // Every other look by the clock is at all of it; those that events ask for know what they are about.
      if (this._stale || this._looks++ % 2 === 0) {
        this._stale = false;
        isGone = true;
        this._run = await this.jobs.client.show(this.id);
        isGone = false;
        this._awaitEnd();
      }
      await this._read();
      this._error = null;
    } catch (reason) {
      this._error = CloudMLError.from(reason);
      isGone &&= this._error.status === 404;
    }
    if (this.isDisposed) {
      return;
    }
    this.emit();
    if (this._error) {
      this._stale = true;
      if (isGone) {
        void this._poll.stop();
      }
      throw this._error;
    }
    if (this._run && isOver(this._run.state) && this._over) {
      this._cells?.close();
      if (this._run.notices?.some(each => each.state === 'waiting')) {
        this._stale = true;
        this._poll.frequency = { interval: TOLD, backoff: true, max: 4 * TOLD };
      } else {
        void this._poll.stop();
      }
    }
  }

  /** Read the records that are new, of the last attempt. */
  private async _read(): Promise<void> {
    const attempt = this._run?.attempts.length ?? 0;
    if (attempt === 0) {
      this._over = this._run !== null && isOver(this._run.state);
      return;
    }
    if (attempt !== this._attempt) {
      const cells = await this._sources(attempt);
      if (!cells) {
        return;
      }
      this._attempt = attempt;
      this._since = 0;
      this._cells = cells;
    }
    for (;;) {
      const { records, next, over } = await this.jobs.client.records(this.id, attempt, this._since);
      for (const record of records) {
        this._cells?.apply(record);
      }
      const more = records.length > 0;
      this._since = next;
      this._over = over && !more;
      if (!more || this.isDisposed) {
        this._stale ||= over && this._run !== null && !isOver(this._run.state);
        return;
      }
      this.emit();
    }
  }

  /** The cells of an attempt; null where it was given none, or none yet. */
  private async _sources(attempt: number): Promise<RunCells | null> {
    try {
      return new RunCells(await this.jobs.client.sources(this.id, attempt));
    } catch (reason) {
      const error = CloudMLError.from(reason);
      if (error.status !== 404) {
        throw error;
      }
      this._over = this._run !== null && isOver(this._run.state);
      return null;
    }
  }

  /** Look again when the time of the kernel that is left is over: somebody may keep it longer, and else it says what became of it. */
  private _awaitEnd(): void {
    window.clearTimeout(this._ending);
    const { kept } = this;
    if (kept && !this.isDisposed) {
      const wait = Math.min(kept.until_ms - this.jobs.now(), LONGEST);
      this._ending = window.setTimeout(() => {
        this.emit();
        void this.refresh();
      }, wait);
    }
  }

  private _onMoved(_: JobsModel, event: IRunEvent): void {
    if (event.id === this.id || this._run?.children?.some(each => each.run === event.id)) {
      this._stale = true;
      this._lookSoon();
    }
  }

  private _onRecords(_: JobsModel, id: string): void {
    if (id === this.id) {
      this._lookSoon();
    }
  }

  private _lookSoon(): void {
    this._soon ||= window.setTimeout(() => {
      this._soon = 0;
      void this._poll.refresh();
    }, SOON);
  }

  private readonly _poll: Poll;
  private _run: IRunDetail | null = null;
  private _cells: RunCells | null = null;
  private _error: CloudMLError | null = null;
  private _attempt = 0;
  private _since = 0;
  private _over = false;
  private _stale = true;
  private _looks = 0;
  private _soon = 0;
  private _ending = 0;
}
