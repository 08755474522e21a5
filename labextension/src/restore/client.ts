import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { IRecordPart } from './types';

const API = 'cloudml/api/v1';

/** Whose record: a kernel's, or the last one of the kernels that a notebook had. */
export type RecordOf = { readonly kernelId: string } | { readonly path: string };

/** One execution of a record. */
export interface IRecorded {
  readonly of: RecordOf;
  readonly msgId: string;
}

/** Each record once, with the ids of its executions among these. */
export function byRecord(
  recorded: Iterable<IRecorded>
): ReadonlyArray<{ of: RecordOf; msgIds: ReadonlyArray<string> }> {
  const records = new Map<string, { of: RecordOf; msgIds: string[] }>();
  for (const { of, msgId } of recorded) {
    const key = JSON.stringify(of);
    const record = records.get(key) ?? { of, msgIds: [] };
    records.set(key, record);
    if (!record.msgIds.includes(msgId)) {
      record.msgIds.push(msgId);
    }
  }
  return [...records.values()];
}

/** The part of the REST API that serves the recorder. */
export class ExecutionsClient {
  constructor(private readonly _settings: ServerConnection.ISettings) {}

  /**
   * What the recorder has after `since`, or null where the server has no such route.
   *
   * Throws ServerConnection.NetworkError and ResponseError.
   */
  async get(of: RecordOf, since: number): Promise<IRecordPart | null> {
    const query = 'path' in of ? { path: of.path, since: `${since}` } : { since: `${since}` };
    const url = recordUrl(of) + URLExt.objectToQueryString(query);
    const response = await this._request(url, {});
    if (response.status === 404) {
      return null;
    }
    if (!response.ok) {
      throw await ServerConnection.ResponseError.create(response);
    }
    return (await response.json()) as IRecordPart;
  }

  /** Tell the recorder that a saved file holds these executions: it may forget them. */
  async acknowledge(of: RecordOf, msgIds: ReadonlyArray<string>): Promise<void> {
    const body = 'path' in of ? { path: of.path, msg_ids: msgIds } : { msg_ids: msgIds };
    const response = await this._request(`${recordUrl(of)}/ack`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body)
    });
    if (!response.ok && response.status !== 404) {
      throw await ServerConnection.ResponseError.create(response);
    }
  }

  private _request(path: string, init: RequestInit): Promise<Response> {
    const url = URLExt.join(this._settings.baseUrl, API, path);
    return ServerConnection.makeRequest(url, init, this._settings);
  }
}

function recordUrl(of: RecordOf): string {
  return 'path' in of ? 'executions' : `kernels/${encodeURIComponent(of.kernelId)}/executions`;
}
