import { ISignal, Signal } from '@lumino/signaling';

import { IKernelEvent, applyKernelEvent } from './events';
import { IKernel } from './types';

/** The kernels as the server tells them, and each end that was seen. */
export class KernelRows {
  get rows(): ReadonlyArray<IKernel> {
    return this._rows ?? [];
  }

  /** Emitted with each kernel that ended since the first snapshot, once per end. */
  get ended(): ISignal<this, IKernel> {
    return this._ended;
  }

  get(id: string | null): IKernel | null {
    return this.rows.find(kernel => kernel.id === id) ?? null;
  }

  /** Take a snapshot. */
  set(rows: ReadonlyArray<IKernel>): void {
    const known = this._rows ? this._ends : null;
    this._rows = rows;
    this._ends = new Set(rows.filter(row => row.exit).map(endOf));
    for (const row of rows) {
      if (row.exit && known && !known.has(endOf(row))) {
        this._ended.emit(row);
      }
    }
  }

  /** Take an event at `now`; false where it is about a kernel that is not listed. */
  apply(event: IKernelEvent, now: number): boolean {
    const after = applyKernelEvent(this.rows, event, now);
    if (after) {
      this._rows = after;
    }
    return after !== null;
  }

  /** Take the snapshot after an event that said that a kernel ended: another may run in its place already. */
  setAfterEnd(event: IKernelEvent, rows: ReadonlyArray<IKernel>): void {
    const before = this.get(event.id);
    this.set(rows);
    const after = this.get(event.id);
    if (before && event.cause && after?.state !== 'ended') {
      this._ended.emit({ ...before, cause: event.cause });
    }
  }

  dispose(): void {
    Signal.clearData(this);
  }

  private readonly _ended = new Signal<this, IKernel>(this);
  private _rows: ReadonlyArray<IKernel> | null = null;
  private _ends = new Set<string>();
}

function endOf(kernel: IKernel): string {
  return `${kernel.id} ${kernel.exit?.ended_ms}`;
}
