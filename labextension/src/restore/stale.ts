import { ISignal, Signal } from '@lumino/signaling';

import { RecordOf, byRecord } from './client';
import { IRecordSource, RecordReader } from './record';
import { IExecution } from './types';

/** The executions that were left out of a notebook, because their cells' code is not the code that ran. */
export class StaleExecutions {
  /** Emitted when one comes or goes. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get size(): number {
    return this._records.size;
  }

  add(execution: IExecution, of: RecordOf): void {
    if (!this._records.has(execution.msg_id)) {
      this._records.set(execution.msg_id, of);
      this._changed.emit();
    }
  }

  remove(msgId: string): void {
    if (this._records.delete(msgId)) {
      this._changed.emit();
    }
  }

  /** The record of one of them. */
  recordOf(execution: IExecution): RecordOf | null {
    return this._records.get(execution.msg_id) ?? null;
  }

  /** What their records have now; those are dropped that a newer run of their cell has replaced. */
  async read(source: IRecordSource): Promise<IExecution[]> {
    const found: IExecution[] = [];
    const entries = [...this._records].map(([msgId, of]) => ({ of, msgId }));
    for (const { of, msgIds } of byRecord(entries)) {
      const batch = await new RecordReader(of, source).read(true);
      const executions = batch?.executions ?? [];
      found.push(...executions.filter(({ msg_id }) => msgIds.includes(msg_id)));
    }
    const there = new Set(found.map(({ msg_id }) => msg_id));
    entries.filter(({ msgId }) => !there.has(msgId)).forEach(({ msgId }) => this.remove(msgId));
    return found;
  }

  private readonly _records = new Map<string, RecordOf>();
  private readonly _changed = new Signal<this, void>(this);
}
