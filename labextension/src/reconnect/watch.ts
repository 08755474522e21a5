import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { Observable } from '../observable';
import { pause } from './backoff';

/** After this long without an answer another request is sent beside the first, in ms: its connection may be dead. */
const IMPATIENT_MS = 1000;
/** As many requests without an answer mean that there is no server. */
const REQUESTS = 5;
/** Said by a proxy in place of a server that is not there. */
const PROXY_STATUSES: ReadonlyArray<number> = [502, 503, 504];

/** `refused`: the server is there but wants the user to log in anew. */
export type ServerState = 'there' | 'away' | 'refused';

/** Watches for the server's return once it was found to be away. Asks nothing while nobody doubts. */
export class ServerWatch extends Observable<ServerState> {
  constructor(private readonly _settings: ServerConnection.ISettings) {
    super();
    document.addEventListener('visibilitychange', this._onVisibility);
  }

  get state(): ServerState {
    return this._state;
  }

  protected override release(): void {
    window.clearTimeout(this._timer);
    document.removeEventListener('visibilitychange', this._onVisibility);
  }

  /** Something speaks for the server being away: ask it. Resolved with its state. */
  check(): Promise<ServerState> {
    window.clearTimeout(this._timer);
    this._checking ??= this._check().finally(() => {
      this._checking = null;
    });
    return this._checking;
  }

  private async _check(): Promise<ServerState> {
    const state = await this._ask();
    if (this.isDisposed) {
      return state;
    }
    const before = this._state;
    this._state = state;
    if (state !== 'there') {
      this._since = before === 'there' ? performance.now() : this._since;
      const wait = pause(performance.now() - this._since, !document.hidden);
      this._timer = window.setTimeout(() => void this.check(), wait);
    }
    if (state !== before) {
      this.emit(state);
    }
    return state;
  }

  private async _ask(): Promise<ServerState> {
    const abort = new AbortController();
    const requests: Promise<ServerState>[] = [];
    try {
      while (requests.length < REQUESTS) {
        requests.push(this._request(abort.signal));
        const answer = await Promise.race([...requests, silence(IMPATIENT_MS)]);
        if (answer) {
          return answer;
        }
      }
      return 'away';
    } finally {
      abort.abort();
    }
  }

  private async _request(signal: AbortSignal): Promise<ServerState> {
    const url = URLExt.join(this._settings.baseUrl, 'api/status');
    try {
      const init = { signal, cache: 'no-store' as const };
      const { status } = await ServerConnection.makeRequest(url, init, this._settings);
      if (PROXY_STATUSES.includes(status)) {
        return 'away';
      }
      return status === 401 || status === 403 ? 'refused' : 'there';
    } catch {
      return 'away'; // makeRequest throws network errors only.
    }
  }

  private _onVisibility = (): void => {
    if (!document.hidden && this._state !== 'there') {
      void this.check();
    }
  };

  private _state: ServerState = 'there';
  /** When the server was first found not to be there. */
  private _since = 0;
  private _checking: Promise<ServerState> | null = null;
  private _timer = 0;
}

function silence(ms: number): Promise<null> {
  return new Promise(resolve => window.setTimeout(() => resolve(null), ms));
}
