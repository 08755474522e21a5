import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { hasSlept } from './backoff';

const TICK_MS = 5000;

/** Notices that the computer has slept, that the browser had frozen the page, or that the network is back. */
export class SleepWatch implements IDisposable {
  constructor() {
    window.addEventListener('online', this._onOnline);
    document.addEventListener('freeze', this._onFreeze);
    document.addEventListener('resume', this._onTick);
    this._timer = window.setInterval(this._onTick, TICK_MS);
  }

  /** Emitted with whether the sockets cannot be trusted any more: their other ends may have given them up. */
  get woke(): ISignal<this, boolean> {
    return this._woke;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      window.clearInterval(this._timer);
      window.removeEventListener('online', this._onOnline);
      document.removeEventListener('freeze', this._onFreeze);
      document.removeEventListener('resume', this._onTick);
      Signal.clearData(this);
    }
  }

  private _onOnline = (): void => {
    this._woke.emit(false);
  };

  private _onFreeze = (): void => {
    this._last = Date.now(); // The wall clock: others stand still while the computer sleeps.
  };

  private _onTick = (): void => {
    const late = Date.now() - this._last - TICK_MS;
    this._last = Date.now();
    if (hasSlept(late, !document.hidden)) {
      this._woke.emit(true);
    }
  };

  private _last = Date.now();
  private readonly _timer: number;
  private _isDisposed = false;
  private readonly _woke = new Signal<this, boolean>(this);
}
