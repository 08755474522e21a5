import { CodeCell } from '@jupyterlab/cells';
import { NotebookPanel } from '@jupyterlab/notebook';
import { ISignal, Signal } from '@lumino/signaling';

import { cellOf, codeCells, ownExecution, shownExecution } from './cells';
import { IRecorded, RecordOf } from './client';
import { Action, decide } from './decide';
import { IBatch } from './record';
import { RestoredExecution } from './restored';
import { IRead, situationOf } from './situation';
import { StaleExecutions } from './stale';
import { IExecution } from './types';

/** The outputs of one notebook: which of its cells show what execution, and who feeds them. */
export class NotebookOutputs {
  /** The view to feed: the views of a document share their outputs, and each future adds to them. */
  panel: NotebookPanel | null = null;

  /** What was left out. */
  readonly stale = new StaleExecutions();

  /** Emitted when this page hears that an execution has ended that it takes from the record since its socket was down. */
  get replied(): ISignal<this, void> {
    return this._replied;
  }

  /** Whether anything can come for a cell that is fed by us. */
  get following(): boolean {
    return [...this._restored.values()].some(({ execution }) => execution.open);
  }

  /** Whether one of those in a record has not ended. */
  unended(of: RecordOf): boolean {
    return [...this._restored.values()].some(
      restored => restored.of === of && !restored.execution.done
    );
  }

  /** Whether executions of a record are asked for, so that the whole of it has to be read. */
  wanting(of: RecordOf): boolean {
    return [...this._wanted.values()].includes(of);
  }

  /** Restore these executions with the next read, even if this page has run them. */
  want(of: RecordOf, msgIds: Iterable<string>): void {
    for (const msgId of msgIds) {
      this._wanted.set(msgId, of);
    }
  }

  /** Put the code of an execution that was left out into its cell, which is undoable, and want its outputs. */
  accept(execution: IExecution): void {
    const of = this.stale.recordOf(execution);
    const cell = this.panel && cellOf(execution, this.panel, [execution]);
    if (of && cell) {
      cell.model.sharedModel.setSource(execution.code);
      this.want(of, [execution.msg_id]);
    }
  }

  /** This page's own executions that have not ended: what it misses of them is lost to it. */
  running(): string[] {
    return this._cells()
      .filter(cell => cell.model.executionState !== 'idle')
      .map(ownExecution)
      .filter((msgId): msgId is string => msgId !== null);
  }

  /** The executions that the document has to their end; those that this page ran are in the record `own`. */
  ended(own: RecordOf | null): IRecorded[] {
    return this._cells().flatMap(cell => {
      const msgId = shownExecution(cell);
      const restored = msgId === null ? undefined : this._restored.get(msgId);
      const of = restored ? restored.of : own;
      const ended = restored ? restored.execution.done : cell.model.executionState === 'idle';
      return msgId !== null && of && ended && !this._wanted.has(msgId) ? [{ of, msgId }] : [];
    });
  }

  /** Take what was read; returns the executions that the document was found to have already. */
  apply(batch: IBatch, read: IRead): IRecorded[] {
    this._prune();
    const held = batch.executions.filter(execution => {
      try {
        return this._apply(execution, batch, read) === 'held';
      } catch (reason) {
        console.error(`Cannot show the recorded outputs of cell ${execution.cell_id}`, reason);
        return false;
      }
    });
    if (batch.whole) {
      this._settle(read.of, new Set(batch.executions.map(({ msg_id }) => msg_id)));
    }
    return held.map(({ msg_id }) => ({ of: read.of, msgId: msg_id }));
  }

  /** Nothing that runs goes on: the kernel is gone or starts anew. */
  abandon(): void {
    for (const { execution } of this._restored.values()) {
      execution.abandon();
    }
    this._wanted.clear();
  }

  /** Feed another view; what was followed in the one before is wanted in it. */
  show(panel: NotebookPanel | null): void {
    this.panel = panel;
    for (const [msgId, { of, execution }] of this._restored) {
      if (!execution.done) {
        this.want(of, [msgId]);
      }
    }
    this._restored.clear();
  }

  private _apply(execution: IExecution, batch: IBatch, read: IRead): Action {
    const { panel } = this;
    const cell = panel && cellOf(execution, panel, batch.executions);
    if (!panel || !cell) {
      return 'skip';
    }
    const shown = shownExecution(cell) ?? '';
    const action = decide(
      execution,
      situationOf(execution, cell, {
        whole: batch.whole,
        shared: panel.context.model.collaborative ?? false,
        read,
        wanted: this._wanted.has(execution.msg_id),
        restored: this._restored.get(shown)
      })
    );
    if (action === 'feed') {
      this._restored.get(shown)?.execution.feed(execution);
    } else if (action === 'stale') {
      this.stale.add(execution, read.of);
    } else if (action === 'supersede' || action === 'restore') {
      this._restored.get(shown)?.execution.abandon();
      this._restored.delete(shown);
      if (action === 'restore') {
        const restored = new RestoredExecution(panel, cell, execution, read.kernel, () =>
          this._replied.emit()
        );
        this._restored.set(execution.msg_id, { of: read.of, execution: restored });
        this.stale.remove(execution.msg_id);
      }
    }
    return action;
  }

  /** Drop what is not shown any more; what a reload of the file took away is wanted again. */
  private _prune(): void {
    for (const [msgId, { of, execution }] of this._restored) {
      if (execution.lost) {
        this._restored.delete(msgId);
        const cell = this._cells().find(({ model }) => model.id === execution.cellId);
        if (cell && shownExecution(cell) === null && !execution.done) {
          this.want(of, [msgId]);
        }
      }
    }
  }

  /** The whole of a record was read: what is not in it will not come. */
  private _settle(of: RecordOf, present: ReadonlySet<string>): void {
    for (const [msgId, record] of this._wanted) {
      if (record === of) {
        this._wanted.delete(msgId);
      }
    }
    for (const [msgId, restored] of this._restored) {
      if (restored.of === of && !present.has(msgId)) {
        restored.execution.abandon();
      }
    }
  }

  private _cells(): CodeCell[] {
    return this.panel && !this.panel.isDisposed ? codeCells(this.panel) : [];
  }

  private readonly _restored = new Map<string, { of: RecordOf; execution: RestoredExecution }>();
  private readonly _replied = new Signal<this, void>(this);
  private readonly _wanted = new Map<string, RecordOf>();
}
