import { RecordOf } from './client';
import { IExecution, IRecordPart } from './types';

/** How often a record may change its epoch while it is read before the read fails. */
const MAX_EPOCHS = 3;

/** Where a record comes from: `ExecutionsClient`, or a table in a test. */
export interface IRecordSource {
  get(of: RecordOf, since: number): Promise<IRecordPart | null>;
}

/** Executions read together. */
export interface IBatch {
  /** Whether each execution is here from its first message, or only with what is new. */
  readonly whole: boolean;
  readonly kernelId: string | null;
  /** Why outputs are missing from now on. */
  readonly notice: string | null;
  readonly executions: ReadonlyArray<IExecution>;
}

/** Reads one record: everything at first, then what is new. One read at a time. */
export class RecordReader {
  constructor(
    readonly of: RecordOf,
    private readonly _source: IRecordSource
  ) {}

  /**
   * The changes since the last read, or everything where `whole` is asked for or the epoch is another.
   *
   * Returns null where the server keeps no records.
   */
  async read(whole: boolean): Promise<IBatch | null> {
    let since = whole ? 0 : this._since;
    for (let epochs = 0; epochs < MAX_EPOCHS; epochs++) {
      const answer = await this._readFrom(since);
      if (answer !== 'another epoch') {
        return answer;
      }
      since = 0;
    }
    throw new Error('The record of the outputs keeps starting anew');
  }

  private async _readFrom(since: number): Promise<IBatch | 'another epoch' | null> {
    const parts: IRecordPart[] = [];
    let seq = since;
    let more = true;
    while (more) {
      const part = await this._source.get(this.of, seq);
      if (!part) {
        return null;
      }
      const epoch = parts[0]?.epoch ?? (since > 0 ? this._epoch : part.epoch);
      if (part.epoch !== epoch) {
        return 'another epoch';
      }
      if (part.more && part.seq <= seq) {
        throw new Error(`The record of the outputs does not go on after ${seq}`);
      }
      parts.push(part);
      seq = part.seq;
      more = part.more;
    }
    this._since = seq;
    this._epoch = parts[0]?.epoch ?? null;
    return {
      whole: since === 0,
      kernelId: parts[0]?.kernel_id ?? null,
      notice: parts[parts.length - 1]?.notice ?? null,
      executions: mergeParts(parts)
    };
  }

  private _since = 0;
  private _epoch: string | null = null;
}

/** Each execution once, with the messages of all parts and the state of the last. */
export function mergeParts(parts: ReadonlyArray<IRecordPart>): IExecution[] {
  const merged = new Map<string, IExecution>();
  for (const execution of parts.flatMap(part => part.executions)) {
    const held = merged.get(execution.msg_id);
    merged.set(
      execution.msg_id,
      held ? { ...execution, messages: held.messages.concat(execution.messages) } : execution
    );
  }
  return [...merged.values()];
}
