import { PartialJSONObject } from '@lumino/coreutils';

/** One message of a kernel, as the recorder keeps it; `buffers` are base64. */
export interface IRecordedMessage {
  readonly type: string;
  readonly content: PartialJSONObject;
  readonly metadata: PartialJSONObject;
  readonly buffers?: ReadonlyArray<string>;
}

/** A line that the kernel waits for. */
export interface IInputRequest {
  readonly header: PartialJSONObject;
  readonly content: PartialJSONObject;
}

export type ExecutionStatus = 'queued' | 'running' | 'ok' | 'error' | 'aborted';

/** What one `execute_request` of a cell put out; in an increment, only the new messages. */
export interface IExecution {
  readonly msg_id: string;
  readonly cell_id: string;
  readonly code: string;
  readonly status: ExecutionStatus;
  readonly execution_count: number | null;
  readonly input_request: IInputRequest | null;
  /** Of the reply: pages to show, and things that only the page that ran the cell can do. */
  readonly payload?: ReadonlyArray<PartialJSONObject>;
  readonly messages: ReadonlyArray<IRecordedMessage>;
}

/** A part of a record: all that changed after the `seq` that was asked from, up to `seq`. */
export interface IRecordPart {
  /** Another epoch counts `seq` anew. */
  readonly epoch: string;
  readonly seq: number;
  /** Whether there is more after `seq` already. */
  readonly more: boolean;
  readonly kernel_id: string | null;
  /** Why outputs are missing from now on. */
  readonly notice?: string | null;
  readonly executions: ReadonlyArray<IExecution>;
}

/** Whether nothing more is to come, but for updates of displays. */
export function isDone(execution: IExecution): boolean {
  return execution.status !== 'queued' && execution.status !== 'running';
}
