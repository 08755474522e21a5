import { CodeCell } from '@jupyterlab/cells';
import { NotebookPanel } from '@jupyterlab/notebook';
import { Kernel } from '@jupyterlab/services';

import { RecordedFuture } from './future';
import { IExecution } from './types';

export function codeCells(panel: NotebookPanel): CodeCell[] {
  return panel.content.widgets.filter((cell): cell is CodeCell => cell instanceof CodeCell);
}

/**
 * The cell that an execution belongs to, or null.
 *
 * Files before nbformat 4.5 carry no cell ids, each page makes up new ones: there the code tells, where it is in one
 * cell only and ran once only.
 */
export function cellOf(
  execution: IExecution,
  panel: NotebookPanel,
  among: ReadonlyArray<IExecution>
): CodeCell | null {
  const cells = codeCells(panel);
  const byId = cells.find(cell => cell.model.id === execution.cell_id);
  const { nbformat, nbformatMinor } = panel.context.model;
  if (byId || nbformat > 4 || (nbformat === 4 && nbformatMinor >= 5)) {
    return byId ?? null;
  }
  const sameCode = cells.filter(cell => sourceOf(cell) === execution.code);
  const ran = among.filter(other => other.code === execution.code);
  return sameCode.length === 1 && ran.length === 1 ? (sameCode[0] ?? null) : null;
}

export function sourceOf(cell: CodeCell): string {
  return cell.model.sharedModel.getSource();
}

/** The id of the execution whose messages go to the cell, if there is one. */
export function shownExecution(cell: CodeCell): string | null {
  return futureOf(cell)?.msg.header.msg_id ?? null;
}

/** The id of the execution that this page's kernel connection feeds the cell with, if there is one. */
export function ownExecution(cell: CodeCell): string | null {
  const future = futureOf(cell);
  return future && !(future instanceof RecordedFuture) ? future.msg.header.msg_id : null;
}

/** The declared type hides that a cell that has not run has no future. */
export function futureOf(cell: CodeCell): Kernel.IShellFuture | null {
  return (cell.outputArea.future as Kernel.IShellFuture | null | undefined) ?? null;
}
