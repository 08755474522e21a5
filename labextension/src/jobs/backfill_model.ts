import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { JobsModel } from './model';
import { IFilling } from './types';

/** What is typed settles for so many ms before the server is asked about it. */
const SETTLE = 300;

/** Past times of a job that are to have their runs: which range, how many that would be, and having them made. */
export class BackfillModel extends Observable {
  constructor(
    readonly job: string,
    private readonly _jobs: JobsModel
  ) {
    super();
  }

  /** What the range that was given last would do; null while that is not known. */
  get filling(): IFilling | null {
    return this._filling;
  }

  get error(): CloudMLError | null {
    return this._error;
  }

  get busy(): boolean {
    return this._busy;
  }

  /** How many runs were made, once they were. */
  get made(): number | null {
    return this._made;
  }

  /** Choose a range, both ends included, and one of several triggers; NaN is a time that is none. */
  choose(from: number, until: number, trigger: string | null): void {
    window.clearTimeout(this._timer);
    this._range = null;
    this._filling = this._error = this._made = null;
    this._asked++;
    if (from <= until) {
      this._range = { from_ms: from, until_ms: until, ...(trigger ? { trigger } : {}) };
      this._timer = window.setTimeout(() => void this._look(), SETTLE);
    }
    this.emit();
  }

  /** Have the runs made that were told of. */
  async fill(): Promise<void> {
    const { _filling: filling, _range: range } = this;
    if (!range || !filling || this._busy) {
      return;
    }
    this._busy = true;
    this.emit();
    const asked = this._asked;
    try {
      await this._jobs.client.backfill(this.job, range);
      if (asked === this._asked) {
        this._filling = null;
        this._made = filling.due - filling.ran;
      }
    } catch (reason) {
      if (asked === this._asked) {
        this._error = CloudMLError.from(reason);
      }
    }
    this._busy = false;
    this.emit();
  }

  protected override release(): void {
    window.clearTimeout(this._timer);
  }

  private async _look(): Promise<void> {
    const asked = this._asked;
    let filling: IFilling | null = null;
    let error: CloudMLError | null = null;
    try {
      filling = this._range && (await this._jobs.client.filling(this.job, this._range));
    } catch (reason) {
      error = CloudMLError.from(reason);
    }
    // Another range was chosen meanwhile: what this one would do is of no use.
    if (asked === this._asked) {
      [this._filling, this._error] = [filling, error];
      this.emit();
    }
  }

  private _range: { from_ms: number; until_ms: number; trigger?: string } | null = null;
  private _filling: IFilling | null = null;
  private _error: CloudMLError | null = null;
  private _made: number | null = null;
  private _busy = false;
  private _asked = 0;
  private _timer = 0;
}
