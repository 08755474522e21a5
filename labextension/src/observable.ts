import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

/** What user interface follows: it says when it changed, until it is disposed. */
export class Observable<T = void> implements IDisposable {
  /** Emitted whenever anything that it tells has changed. */
  get changed(): ISignal<this, T> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this.release();
      Signal.clearData(this);
    }
  }

  /** Let go of what it holds; called once. */
  protected release(): void {
    // nothing of its own
  }

  /** Say that it has changed; an answer that comes after its end changes nothing. */
  protected emit(args: T): void {
    if (!this._isDisposed) {
      this._changed.emit(args);
    }
  }

  private readonly _changed = new Signal<this, T>(this);
  private _isDisposed = false;
}
