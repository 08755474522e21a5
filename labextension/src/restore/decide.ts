import { IExecution, isDone } from './types';

/**
 * What to do with an execution that was read: nothing; note that the document has it; give its cell what is new;
 * replay it in its cell; leave it out, and say so; stop feeding its cell with an earlier one.
 */
export type Action = 'skip' | 'held' | 'feed' | 'restore' | 'stale' | 'supersede';

/** What a notebook knows about an execution that was read, and about its cell. */
export interface ISituation {
  /** Here from its first message on. */
  readonly whole: boolean;
  /** The first read for this document, for another kernel that it got, or a later one. */
  readonly when: 'opening' | 'new kernel' | 'later';
  /** Several people edit the document: its outputs are theirs too, and each of their pages would add to them. */
  readonly shared: boolean;
  /** Asked for by id: its socket was down, or the user wants it. */
  readonly wanted: boolean;
  /** Who feeds the cell: nobody, we or the page's kernel connection, with this execution or another one. */
  readonly fed: 'no' | 'by us' | 'by page' | 'earlier by us' | 'other by page';
  /** The cell's source is the code that ran. */
  readonly sameCode: boolean;
  /** The cell waits for nothing. */
  readonly idle: boolean;
  /** The cell has neither outputs nor an execution count. */
  readonly empty: boolean;
  /** Whether the cell shows just what the execution put out. Costly: asked last. */
  readonly holds: () => boolean;
}

/**
 * What to do with an execution.
 *
 * The outputs of an execution are a function of its messages alone. So a cell is either fed with new messages, or
 * replayed from the first one; nothing is ever appended to outputs of unknown origin.
 */
export function decide(execution: IExecution, at: ISituation): Action {
  if (at.fed === 'earlier by us') {
    return at.sameCode ? 'restore' : 'supersede'; // Another page runs the cell that we follow.
  }
  if (!at.whole) {
    return at.fed === 'by us' ? 'feed' : 'skip';
  }
  if (!at.wanted && (at.fed === 'by page' || at.fed === 'other by page')) {
    return 'skip';
  }
  const done = isDone(execution);
  const first = at.when === 'opening' || (at.when === 'new kernel' && !done);
  if (!at.wanted && !first && at.fed === 'no') {
    return 'skip';
  }
  if (done && at.fed === 'by us' && at.idle && at.empty) {
    return 'skip'; // The user has cleared it since.
  }
  if (at.fed === 'no') {
    if (execution.status === 'aborted' && execution.messages.length === 0) {
      return 'skip'; // It never ran: what the file has stays.
    }
    if (!at.sameCode) {
      return 'stale';
    }
  }
  if (done && at.idle && at.holds()) {
    return 'held';
  }
  if (at.shared) {
    return at.fed === 'no' ? 'stale' : 'skip';
  }
  return 'restore';
}
