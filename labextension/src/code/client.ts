import { URLExt } from '@jupyterlab/coreutils';

import { CloudMLClient } from '../api';
import { IOperation } from '../types';
import { IClone, ICodeChanges, ICodeOf, ICodeStatus, IDecision, IRefs } from './types';

/** The part of the REST API that serves code. Every method throws CloudMLError. */
export class CodeClient {
  constructor(private readonly _client: CloudMLClient) {}

  /** How the code compares with what the machine was sent; asks no machine. */
  status(of: ICodeOf): Promise<ICodeStatus> {
    return this._client.get(`workspaces${query(of)}`);
  }

  /** Ask the machine what was changed there. */
  changes(of: ICodeOf): Promise<ICodeChanges> {
    return this._client.get(`workspaces/changes${query(of)}`);
  }

  /** Begin to send the code; with `pull` what was changed there comes back first. */
  sync(of: ICodeOf, pull: boolean, decision: IDecision = {}): Promise<IOperation> {
    const path = pull ? 'workspaces/pull' : 'workspaces/sync';
    return this._client.begin('POST', path, { ...of, ...decision });
  }

  /** Begin to settle a conflict: the file becomes on both sides as the machine has it (`there`), or as it is here. */
  settle(of: ICodeOf, file: string, there: boolean): Promise<IOperation> {
    const body = there ? { take: [file] } : { keep: [file] };
    return this._client.begin('POST', 'workspaces/settle', { ...of, ...body });
  }

  /** Ask a Git URL for its branches and tags. */
  refs(url: string, path: string): Promise<IRefs> {
    return this._client.ask('workspaces/refs', { url, path });
  }

  /** Begin to clone a Git URL and to send it. */
  clone(what: IClone): Promise<IOperation> {
    return this._client.begin('POST', 'workspaces/clone', what);
  }
}

function query({ path, machine }: ICodeOf): string {
  return URLExt.objectToQueryString({ path, machine });
}
