import { CodeCell } from '@jupyterlab/cells';
import { Kernel } from '@jupyterlab/services';

import { ownExecution, shownExecution, sourceOf } from './cells';
import { RecordOf } from './client';
import { ISituation } from './decide';
import { sameOutputs } from './fold';
import { IExecution } from './types';

/** A record that was read, and when. */
export interface IRead {
  readonly of: RecordOf;
  readonly when: ISituation['when'];
  /** Null where it has ended. */
  readonly kernel: Kernel.IKernelConnection | null;
}

/** What a notebook knows beside what its cell tells. */
export interface IKnown extends Pick<ISituation, 'whole' | 'shared' | 'wanted'> {
  readonly read: IRead;
  /** What the cell shows, where we have restored it. */
  readonly restored:
    { readonly of: RecordOf; readonly execution: { readonly done: boolean } } | undefined;
}

/** How it stands with an execution that was read and with its cell. */
export function situationOf(execution: IExecution, cell: CodeCell, known: IKnown): ISituation {
  const { whole, shared, wanted, read } = known;
  const { model } = cell;
  return {
    whole,
    shared,
    wanted,
    when: read.when,
    fed: fedBy(execution.msg_id, cell, known),
    sameCode: sourceOf(cell) === execution.code,
    idle: model.executionState === 'idle',
    empty: model.outputs.length === 0 && model.executionCount === null,
    holds: () =>
      model.executionCount === execution.execution_count &&
      sameOutputs(model.outputs.toJSON(), execution)
  };
}

function fedBy(msgId: string, cell: CodeCell, { read, restored }: IKnown): ISituation['fed'] {
  const shown = shownExecution(cell);
  if (shown === null) {
    return 'no';
  }
  if (ownExecution(cell) !== null) {
    return shown === msgId ? 'by page' : 'other by page';
  }
  if (shown === msgId) {
    return 'by us';
  }
  if (restored?.of !== read.of) {
    return 'path' in read.of ? 'other by page' : 'no'; // A live kernel's record is the newer one.
  }
  return restored.execution.done ? 'no' : 'earlier by us';
}
