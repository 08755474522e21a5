import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { JSONObject } from '@lumino/coreutils';

import { CloudMLClient } from '../api';
import {
  IContent,
  IDefinition,
  IFilling,
  IJob,
  IOpened,
  IParameter,
  IPreview,
  IRecords,
  IRetry,
  IRun,
  IRunDetail,
  IRunRequest,
  ISelection,
  ISummary,
  Trigger
} from './types';

/** Records that are asked for at once. */
const RECORDS = 500;

/** What asks for runs. */
export interface IRunsQuery {
  readonly job?: string;
  readonly state?: ReadonlyArray<string>;
  readonly before?: string;
  readonly limit?: number;
  /** Also how many of the last runs of the job are in each state. */
  readonly counts?: boolean;
}

/** What asks for due times of a range, both ends included. */
export interface IRange {
  readonly from_ms: number;
  readonly until_ms: number;
  readonly trigger?: string;
}

type Counts = Readonly<Record<string, number>>;

/** The REST API of jobs. Every method throws CloudMLError. */
export class JobsClient {
  constructor(private readonly _client: CloudMLClient) {}

  get serverSettings(): ServerConnection.ISettings {
    return this._client.serverSettings;
  }

  jobs(query: {
    after?: string;
    q?: string;
    only?: string;
    limit?: number;
    counts?: boolean;
  }): Promise<{ jobs: ReadonlyArray<IJob>; next: string | null; counts?: Counts }> {
    return this._client.get(`jobs${asked(query)}`);
  }

  job(name: string): Promise<IJob> {
    return this._client.get(jobPath(name));
  }

  /** Make or change a job. It is refused as `changed` where its revision is not `rev`; 0 makes a new one. */
  apply(definition: IDefinition, rev: number): Promise<IJob> {
    return this._client.ask('jobs', { definition, rev });
  }

  schema(): Promise<JSONObject> {
    return this._client.get('jobs/schema');
  }

  preview(trigger: Trigger): Promise<IPreview> {
    return this._client.ask('jobs/preview', { trigger, count: 5 });
  }

  async parameters(path: string): Promise<ReadonlyArray<IParameter>> {
    const found = await this._client.get<{ parameters: IParameter[] | null }>(
      `jobs/parameters${asked({ path })}`
    );
    return found.parameters ?? [];
  }

  select(content: IContent, cells: ReadonlyArray<number>): Promise<ISelection> {
    return this._client.ask('jobs/selection', { content, cells });
  }

  pause(name: string, paused: boolean): Promise<IJob> {
    return this._client.ask(`${jobPath(name)}/${paused ? 'pause' : 'resume'}`, {});
  }

  /** Run a job now; said again with the same token, it runs once. */
  runJob(name: string, token: string): Promise<IRun> {
    return this._client.ask(`${jobPath(name)}/run`, { token });
  }

  /** What a backfill would do. */
  filling(name: string, range: IRange): Promise<IFilling> {
    return this._client.ask(`${jobPath(name)}/backfill`, { ...range, dry_run: true });
  }

  /** Have the due times of a range run that have not. */
  async backfill(name: string, range: IRange): Promise<void> {
    await this._client.ask(`${jobPath(name)}/backfill`, range);
  }

  hook(name: string): Promise<{ readonly path: string; readonly has_token: boolean }> {
    return this._client.get(`${jobPath(name)}/hook`);
  }

  /** Make a token for a webhook, which is told this once; it replaces the one that there is. */
  newToken(
    name: string,
    rotate: boolean
  ): Promise<{ readonly path: string; readonly token: string }> {
    return this._client.ask(`${jobPath(name)}/hook`, { rotate });
  }

  remove(name: string): Promise<void> {
    return this._client.send('DELETE', jobPath(name));
  }

  run(request: IRunRequest): Promise<IRun> {
    return this._client.ask('runs', request);
  }

  runs(
    query: IRunsQuery
  ): Promise<{ runs: ReadonlyArray<IRun>; next: string | null; counts?: Counts }> {
    const { state, ...rest } = query;
    const states = (state ?? []).map(each => `state=${encodeURIComponent(each)}`).join('&');
    const text = asked(rest);
    return this._client.get(`runs${text}${states && (text ? '&' : '?') + states}`);
  }

  summary(): Promise<ISummary> {
    return this._client.get('runs/summary');
  }

  show(id: string): Promise<IRunDetail> {
    return this._client.get(runPath(id));
  }

  /** Have a run end; it has when its state says so. */
  cancel(id: string): Promise<IRun> {
    return this._client.ask(`${runPath(id)}/cancel`, {});
  }

  /** Run again what a run that is over ran; `how` says from where it runs, and why. */
  retry(id: string, how: IRetry = {}): Promise<IRun & { readonly how: string }> {
    return this._client.ask(`${runPath(id)}/retry`, how);
  }

  /** End the kernel that a failed run has left. */
  async release(id: string): Promise<void> {
    await this._client.ask(`${runPath(id)}/release`, {});
  }

  /** Open the kernel that a failed run has left; said again it is the same one. */
  openKernel(id: string): Promise<IOpened> {
    return this._client.ask(`${runPath(id)}/kernel`, {});
  }

  /** Have that kernel kept longer: as long as its definition says, from now on. */
  async keepLonger(id: string): Promise<number> {
    const found = await this._client.ask<{ kept: { until_ms: number } }>(`${runPath(id)}/keep`, {});
    return found.kept.until_ms;
  }

  records(id: string, attempt: number, since: number): Promise<IRecords> {
    return this._client.get(`${runPath(id)}/records${asked({ attempt, since, limit: RECORDS })}`);
  }

  /** The notebook that an attempt was given, without outputs. */
  sources(id: string, attempt: number): Promise<IContent> {
    return this._client.get(`${runPath(id)}/sources${asked({ attempt })}`);
  }

  /** A file that a run has written. */
  written(id: string, path: string): Promise<Blob> {
    return this._client.blob(`${runPath(id)}/file${asked({ path })}`);
  }

  /** The executed notebook (also of an earlier attempt), its page or the log as a file. */
  async file(
    id: string,
    kind: 'notebook' | 'html' | 'log',
    attempt: number | null = null
  ): Promise<Blob> {
    return this._client.blob(`${runPath(id)}/${kind}${asked({ attempt: attempt ?? undefined })}`);
  }
}

function jobPath(name: string): string {
  return `jobs/${encodeURIComponent(name)}`;
}

function runPath(id: string): string {
  return `runs/${encodeURIComponent(id)}`;
}

/** A query of what is given. */
function asked(query: object): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
  return given.length
    ? URLExt.objectToQueryString(
        Object.fromEntries(given.map(([name, value]) => [name, String(value)]))
      )
    : '';
}
