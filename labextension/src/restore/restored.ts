import { CodeCell } from '@jupyterlab/cells';
import { NotebookPanel } from '@jupyterlab/notebook';
import { Kernel } from '@jupyterlab/services';

import { codeCells, futureOf, ownExecution } from './cells';
import { displayId } from './fold';
import { RecordedFuture } from './future';
import { IExecution, IInputRequest, isDone } from './types';

/** The class that an output area gives its input box. */
const INPUT_BOX = 'jp-OutputArea-stdin-item';

/** An execution that a cell shows from its record. */
export class RestoredExecution {
  /** Replay it from its first message in place of what the cell shows; `replied` where this page hears of its end. */
  constructor(
    readonly panel: NotebookPanel,
    cell: CodeCell,
    execution: IExecution,
    kernel: Kernel.IKernelConnection | null,
    replied: () => void
  ) {
    this.cellId = cell.model.id;
    this._last = execution;
    this._future = new RecordedFuture(execution.msg_id, execution.code, kernel);
    if (ownExecution(cell) === execution.msg_id) {
      // Not disposed: whoever awaits this page's run still gets its reply.
      const own = cell.outputArea.detachFuture();
      void own?.done.then(replied, () => undefined);
    }
    // As when a cell is run: nothing of it can be undone.
    cell.model.sharedModel.transact(() => cell.model.clearExecution(), false);
    cell.outputArea.future = this._future; // This clears the output area; reattachFuture does not.
    cell.model.executionState = 'running';
    this.feed(execution);
  }

  readonly cellId: string;

  /** Whether it has ended; a later execution can still update its displays. */
  get done(): boolean {
    return this._done;
  }

  /** Whether anything can still come: a display may be updated by any later execution. */
  get open(): boolean {
    return !this.lost && (!this._done || this._displays);
  }

  /** Whether the cell has been run anew, or is gone. */
  get lost(): boolean {
    return this._future.isDisposed;
  }

  /** Take its new messages. */
  feed(execution: IExecution): void {
    for (const message of execution.messages) {
      this._displays ||= displayId(message.content) !== null;
      this._future.feed(message);
    }
    this._ask(execution.input_request);
    if (isDone(execution)) {
      this._end(execution);
    } else {
      this._last = execution;
    }
  }

  /** Nothing will follow: the kernel is gone, or the cell has been run by another page. */
  abandon(): void {
    this._ask(null);
    this._end({ ...this._last, status: 'aborted', execution_count: null });
  }

  private _end(execution: IExecution): void {
    if (this._done || this.lost) {
      return;
    }
    this._done = true;
    this._future.finish(execution);
    const cell = this._cell();
    if (cell) {
      cell.model.executionCount = execution.execution_count;
      cell.model.executionState = 'idle';
    }
  }

  /** Show, keep or take away the box for the line that the kernel waits for. */
  private _ask(request: IInputRequest | null): void {
    const id = request?.header['msg_id'];
    const asked = typeof id === 'string' ? id : null;
    const outputArea = this._cell()?.outputArea;
    if (!outputArea || asked === this._asked) {
      return;
    }
    if (this._asked && outputArea.pendingInput) {
      // Another page has answered.
      outputArea.widgets.filter(child => child.hasClass(INPUT_BOX)).forEach(box => box.dispose());
      this._future.stopAsking();
    }
    this._asked = asked;
    if (request) {
      this._future.ask(request);
    }
  }

  /** Moving a cell makes a new widget, which gets the future of the old one. */
  private _cell(): CodeCell | null {
    if (this.panel.isDisposed || this.lost) {
      return null;
    }
    return codeCells(this.panel).find(cell => futureOf(cell) === this._future) ?? null;
  }

  private readonly _future: RecordedFuture;
  private _last: IExecution;
  private _displays = false;
  private _done = false;
  /** The id of the request that the input box is for. */
  private _asked: string | null = null;
}
