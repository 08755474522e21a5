import { ServerConnection } from '@jupyterlab/services';
import { IDisposable } from '@lumino/disposable';

import { IBatch, RecordReader } from './record';

/** Events can be lost while their socket is down: what is followed is asked after at this rate, in ms. */
const POLL_MS = 2000;
const MAX_RETRY_MS = 30_000;

export interface IFollowerOptions {
  readonly reader: RecordReader;
  /** Takes what was read. */
  readonly apply: (batch: IBatch) => void;
  /** Whether everything is to be read anew. */
  readonly whole: () => boolean;
  /** Whether something is followed that has not ended. */
  readonly waiting: () => boolean;
}

/** Keeps reading one record: when told to, while something is waited for, and again after a failure. */
export class RecordFollower implements IDisposable {
  constructor(private readonly _options: IFollowerOptions) {}

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    window.clearTimeout(this._timer);
  }

  /** Read what is new. A call while a read is under way asks for one more; resolved after the last, if it failed too. */
  pull(): Promise<void> {
    this._asked = true;
    this._running ??= this._run();
    return this._running;
  }

  private async _run(): Promise<void> {
    window.clearTimeout(this._timer);
    while (this._asked && !this._isDisposed) {
      this._asked = false;
      await this._read();
    }
    this._running = null;
    this._schedule();
  }

  private async _read(): Promise<void> {
    const { reader, apply, whole } = this._options;
    try {
      const batch = await reader.read(whole());
      this._failures = 0;
      if (batch && !this._isDisposed) {
        apply(batch);
      }
    } catch (reason) {
      this._failures += 1;
      if (this._failures === 1 && !(reason instanceof ServerConnection.NetworkError)) {
        console.warn('Cannot read the recorded outputs; trying again', reason);
      }
    }
  }

  private _schedule(): void {
    if (this._isDisposed || (this._failures === 0 && !this._options.waiting())) {
      return;
    }
    const delay = POLL_MS * 2 ** Math.max(0, this._failures - 1);
    this._timer = window.setTimeout(() => void this.pull(), Math.min(delay, MAX_RETRY_MS));
  }

  private _asked = false;
  private _running: Promise<void> | null = null;
  private _failures = 0;
  private _timer = 0;
  private _isDisposed = false;
}
