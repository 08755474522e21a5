import { Event } from '@jupyterlab/services';
import { PromiseDelegate } from '@lumino/coreutils';
import { Poll } from '@lumino/polling';

import { CloudMLClient, CloudMLError } from './api';
import { EventIDs, IOperationEvent } from './events';
import { Observable } from './observable';
import { IOperation } from './types';

/** Events push each step; this look in ms is for one that was lost. */
const RECONCILE = 1_000;

/** One piece of slow work on the server, followed until it ends. */
export class OperationModel extends Observable {
  constructor(
    readonly id: string,
    private readonly _client: CloudMLClient,
    events: Event.IManager
  ) {
    super();
    this._ended.promise.catch(() => undefined);
    this._poll = new Poll({
      name: `jupyter-cloudml:operation-${id}`,
      auto: false,
      factory: () => this._load(),
      frequency: { interval: RECONCILE, backoff: false },
      standby: 'never'
    });
    events.stream.connect(this._onEvent, this);
    void this._poll.start();
  }

  /** What the server said last; null before its first answer. */
  get value(): IOperation | null {
    return this._value;
  }

  /** Resolves with the operation when it is done; rejects with its CloudMLError when failed or cancelled. */
  get ended(): Promise<IOperation> {
    return this._ended.promise;
  }

  /** Ask the server to give up; the operation ends as cancelled. */
  async cancel(): Promise<void> {
    await this._client.cancelOperation(this.id);
    await this._poll.refresh();
  }

  /** Stop following; the work itself goes on. */
  protected override release(): void {
    this._poll.dispose();
    this._ended.reject(new CloudMLError({ code: 'disposed', message: 'No longer followed' }));
  }

  private async _load(): Promise<void> {
    let value: IOperation;
    try {
      value = await this._client.getOperation(this.id);
    } catch (reason) {
      const error = CloudMLError.from(reason);
      // A server that is away comes back; one that answers 404 has forgotten the operation.
      if (error.status === 404) {
        this._finish(() => this._ended.reject(error));
      }
      return;
    }
    this._value = value;
    if (value.state === 'done') {
      this._finish(() => this._ended.resolve(value));
    } else if (value.state !== 'running') {
      const body = value.error ?? { code: value.state, message: value.state };
      this._finish(() => this._ended.reject(new CloudMLError(body)));
    }
    this.emit();
  }

  private _finish(settle: () => void): void {
    settle();
    void this._poll.stop();
  }

  private _onEvent(_: Event.IManager, emission: Event.Emission): void {
    if (emission.schema_id !== EventIDs.operation) {
      return;
    }
    const event = emission as unknown as IOperationEvent;
    if (event.id === this.id && this._value?.state !== 'done') {
      void this._poll.refresh();
    }
  }

  private readonly _poll: Poll;
  private readonly _ended = new PromiseDelegate<IOperation>();
  private _value: IOperation | null = null;
}
