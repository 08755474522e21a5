import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import {
  IBuild,
  IDrift,
  IEnvironment,
  IErrorBody,
  IFoundSource,
  IImage,
  IKernel,
  IMachine,
  IMachineForm,
  IMachineGauges,
  IOperation,
  IProcess,
  IProcessGauges,
  ISSHMachine,
  ISuggestion,
  MachineChange
} from './types';

const API = 'cloudml/api/v1';

/** A refusal of the server extension, or its silence: `code` is stable, `hint` says what to do next. */
export class CloudMLError extends Error {
  readonly code: string;
  readonly hint: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly status: number;

  constructor(body: IErrorBody, status = 0) {
    super(body.message);
    this.name = 'CloudMLError';
    this.code = body.code;
    this.hint = body.hint ?? '';
    this.details = body.details ?? {};
    this.status = status;
  }

  /** Any failure as a CloudMLError; a network failure has the code `no_server`. */
  static from(reason: unknown): CloudMLError {
    if (reason instanceof CloudMLError) {
      return reason;
    }
    const message = reason instanceof Error ? reason.message : String(reason);
    const code = reason instanceof ServerConnection.NetworkError ? 'no_server' : 'unexpected';
    return new CloudMLError({ code, message });
  }
}

/** The REST API of the server extension. Every method throws CloudMLError. */
export class CloudMLClient {
  constructor(readonly serverSettings: ServerConnection.ISettings) {}

  /** Milliseconds that the server's clock is ahead of the browser's, from the last answer. */
  get clockOffset(): number {
    return this._clockOffset;
  }

  async listMachines(): Promise<ReadonlyArray<IMachine>> {
    return (await this.get<{ machines: IMachine[] }>('machines')).machines;
  }

  getMachine(name: string): Promise<IMachine> {
    return this.get(machinePath(name));
  }

  addMachine(machine: ISSHMachine): Promise<IOperation> {
    return this.begin('POST', 'machines', { provider: 'ssh', ...machine });
  }

  /** Begin to start (connect), stop, retry or check a machine. */
  act(name: string, verb: 'start' | 'stop' | 'retry' | 'check'): Promise<IOperation> {
    return this.begin('POST', `${machinePath(name)}/${verb}`);
  }

  /** Change what a machine is called, or its policies. */
  changeMachine(name: string, change: MachineChange): Promise<IMachine> {
    return this._request('PATCH', machinePath(name), change);
  }

  /** Begin to forget a machine; it fails with `in_use` while processes run there, unless they may be ended. */
  removeMachine(name: string, stopProcesses: boolean): Promise<IOperation> {
    const query = stopProcesses ? '?stop_processes=true' : '';
    return this.begin('DELETE', machinePath(name) + query);
  }

  async suggestions(): Promise<ReadonlyArray<ISuggestion>> {
    return (await this.get<{ suggestions: ISuggestion[] }>('machines/suggestions')).suggestions;
  }

  /** The form that adds a machine. */
  machineForm(): Promise<IMachineForm> {
    return this.get('machines/schema');
  }

  async images(): Promise<ReadonlyArray<IImage>> {
    return (await this.get<{ images: IImage[] }>('images')).images;
  }

  /** Begin to build an environment on a machine. */
  buildEnvironment(machine: string, build: IBuild): Promise<IOperation> {
    return this.begin('POST', `${machinePath(machine)}/environments`, build);
  }

  /** The environments of a machine, the last used first; the machine is asked. */
  async environments(machine: string): Promise<ReadonlyArray<IEnvironment>> {
    const path = `${machinePath(machine)}/environments`;
    return (await this.get<{ environments: IEnvironment[] }>(path)).environments;
  }

  /** Begin to delete an environment, by its name or key. */
  removeEnvironment(machine: string, name: string): Promise<IOperation> {
    const path = `${machinePath(machine)}/environments/${encodeURIComponent(name)}`;
    return this.begin('DELETE', path);
  }

  /** What was said in the last build under a name. */
  async environmentLog(machine: string, name: string): Promise<string> {
    const path = `${machinePath(machine)}/environments/${encodeURIComponent(name)}/log`;
    return (await this.get<{ log: string }>(path)).log;
  }

  /** The files beside a notebook and above that an environment can be built from. */
  async environmentSources(path: string): Promise<ReadonlyArray<IFoundSource>> {
    const query = URLExt.objectToQueryString({ path });
    return (await this.get<{ sources: IFoundSource[] }>(`environments/sources${query}`)).sources;
  }

  /** Compare an environment, or what kernels of a machine run on, with the server's Python; the machine is asked. */
  drift(machine: string, environment?: string): Promise<IDrift> {
    const query = environment ? URLExt.objectToQueryString({ environment }) : '';
    return this.get(`${machinePath(machine)}/drift${query}`);
  }

  /** The gauges of a machine and, by their ids, of the processes there. */
  machineGauges(name: string): Promise<{
    readonly machine: IMachineGauges;
    readonly processes: Readonly<Record<string, IProcessGauges>>;
  }> {
    return this.get(`${machinePath(name)}/gauges`);
  }

  /** The processes that a machine keeps, with what they are labelled as. */
  async processes(name: string): Promise<ReadonlyArray<IProcess>> {
    return (await this.get<{ processes: IProcess[] }>(`${machinePath(name)}/processes`)).processes;
  }

  kernelGauges(id: string): Promise<IProcessGauges> {
    return this.get(`kernels/${encodeURIComponent(id)}/gauges`);
  }

  async listKernels(): Promise<ReadonlyArray<IKernel>> {
    return (await this.get<{ kernels: IKernel[] }>('kernels')).kernels;
  }

  async cancelStart(kernelId: string): Promise<void> {
    await this._request('POST', `kernels/${encodeURIComponent(kernelId)}/cancel-start`);
  }

  getOperation(id: string): Promise<IOperation> {
    return this.get(`operations/${encodeURIComponent(id)}`);
  }

  /** The operations that run, and those that ended lately, newest first. */
  async listOperations(): Promise<ReadonlyArray<IOperation>> {
    return (await this.get<{ operations: IOperation[] }>('operations')).operations;
  }

  async cancelOperation(id: string): Promise<void> {
    await this._request('DELETE', `operations/${encodeURIComponent(id)}`);
  }

  /** Ask for anything else. */
  get<T>(path: string): Promise<T> {
    return this._request<T>('GET', path);
  }

  /** Say something that has no answer. */
  async post(path: string, body: object): Promise<void> {
    await this._request('POST', path, body);
  }

  /** Ask what needs more than a path to be asked. */
  ask<T>(path: string, body: object): Promise<T> {
    return this._request<T>('POST', path, body);
  }

  /** Have something done that is done at once, or looked for by a body. */
  send<T>(method: string, path: string, body?: object): Promise<T> {
    return this._request<T>(method, path, body);
  }

  /** Begin slow work. */
  async begin(method: string, path: string, body?: object): Promise<IOperation> {
    return (await this._request<{ operation: IOperation }>(method, path, body)).operation;
  }

  /** Ask for a file. */
  async blob(path: string): Promise<Blob> {
    return (await this._answer('GET', path)).blob();
  }

  private async _request<T>(method: string, path: string, body?: object): Promise<T> {
    const text = await (await this._answer(method, path, body)).text();
    return (text ? JSON.parse(text) : undefined) as T;
  }

  /** The answer, where it is no refusal. */
  private async _answer(method: string, path: string, body?: object): Promise<Response> {
    const url = URLExt.join(this.serverSettings.baseUrl, API, path);
    const init: RequestInit = { method };
    if (method === 'POST' || method === 'PATCH') {
      init.body = JSON.stringify(body ?? {});
      init.headers = { 'Content-Type': 'application/json' };
    }
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, this.serverSettings);
    } catch (reason) {
      throw CloudMLError.from(reason);
    }
    this._noteClock(response);
    if (!response.ok) {
      throw new CloudMLError(errorBody(await response.text(), response), response.status);
    }
    return response;
  }

  private _noteClock(response: Response): void {
    const date = Date.parse(response.headers.get('Date') ?? '');
    if (!Number.isNaN(date)) {
      // The header counts whole seconds: less than two seconds' difference says nothing.
      const offset = date - Date.now();
      this._clockOffset = Math.abs(offset) < 2000 ? 0 : offset;
    }
  }

  private _clockOffset = 0;
}

function machinePath(name: string): string {
  return `machines/${encodeURIComponent(name)}`;
}

/** The error an answer carries, or one made from its status when a proxy or an old server wrote it. */
function errorBody(text: string, response: Response): IErrorBody {
  try {
    const body = JSON.parse(text) as Partial<IErrorBody>;
    if (typeof body.code === 'string' && typeof body.message === 'string') {
      return body as IErrorBody;
    }
  } catch {
    // Not JSON: the status alone has to do.
  }
  return { code: `http_${response.status}`, message: `${response.status} ${response.statusText}` };
}
