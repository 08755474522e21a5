import { Poll } from '@lumino/polling';

import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { singly } from './flight';

/** Events say what changed: this look now and then, in ms, is for one that was lost. */
const RECONCILE = 45_000;
/** Events come in bursts; one look answers those of this many ms. */
const SETTLE = 300;

/** Some of the rows, and the key that asks for those that follow; null where none do. */
export interface IPage<T> {
  readonly rows: ReadonlyArray<T>;
  readonly next: string | null;
  /** How many there are of each kind, whatever the rows are narrowed to. */
  readonly counts?: Readonly<Record<string, number>>;
}

/** A long list of which one page is held, whichever page the user looks at. */
export class Paged<T> extends Observable {
  constructor(
    name: string,
    private readonly _ask: (key: string | undefined) => Promise<IPage<T>>
  ) {
    super();
    this._poll = new Poll({
      name: `jupyter-cloudml:${name}`,
      auto: false,
      factory: singly(() => this._load()),
      frequency: { interval: RECONCILE, backoff: true, max: 4 * RECONCILE },
      standby: 'when-hidden'
    });
    void this._poll.start();
  }

  /** Null before the first answer. */
  get rows(): ReadonlyArray<T> | null {
    return this._rows;
  }

  /** Null before the first answer. */
  get counts(): Readonly<Record<string, number>> | null {
    return this._counts;
  }

  get error(): CloudMLError | null {
    return this._error;
  }

  get hasBefore(): boolean {
    return this._keys.length > 1;
  }

  get hasMore(): boolean {
    return this._next !== null;
  }

  async refresh(): Promise<void> {
    await this._poll.refresh();
    await this._poll.tick.catch(() => undefined);
  }

  /** Look again soon, once, however often this is said until then. */
  touch(): void {
    this._timer ||= window.setTimeout(() => {
      this._timer = 0;
      void this.refresh();
    }, SETTLE);
  }

  /** Begin anew: something else is asked for. */
  restart(): void {
    this._keys = [undefined];
    this._turn();
    this.touch();
  }

  more(): void {
    if (this._next !== null) {
      this._keys.push(this._next);
      this._turn();
      void this.refresh();
    }
  }

  before(): void {
    if (this.hasBefore) {
      this._keys.pop();
      this._turn();
      void this.refresh();
    }
  }

  protected override release(): void {
    window.clearTimeout(this._timer);
    this._poll.dispose();
  }

  /** Another page is wanted: what follows the one that is shown, and the answer under way, are of no use. */
  private _turn(): void {
    this._turns++;
    this._next = null;
    this.emit();
  }

  private async _load(): Promise<void> {
    const turn = this._turns;
    let page: IPage<T> | null = null;
    let error: CloudMLError | null = null;
    try {
      page = await this._ask(this._keys[this._keys.length - 1]);
    } catch (reason) {
      error = CloudMLError.from(reason);
    }
    if (turn !== this._turns) {
      return;
    }
    this._error = error;
    if (page) {
      this._rows = page.rows;
      this._next = page.next;
      this._counts = page.counts ?? null;
    }
    this.emit();
    if (this._error) {
      throw this._error;
    }
  }

  private readonly _poll: Poll;
  private _keys: (string | undefined)[] = [undefined];
  private _rows: ReadonlyArray<T> | null = null;
  private _next: string | null = null;
  private _counts: Readonly<Record<string, number>> | null = null;
  private _error: CloudMLError | null = null;
  private _turns = 0;
  private _timer = 0;
}
