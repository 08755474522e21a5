import { Event } from '@jupyterlab/services';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import { CloudMLError } from '../api';
import { EventIDs } from '../events';
import { Observable } from '../observable';
import { ICloudML } from '../tokens';
import { JobsClient } from './client';
import { IRunEvent, ISummary } from './types';

/** Events push what changes: this look now and then, in ms, is for one that was lost and for the day that passes. */
const RECONCILE = 45_000;
/** Events come in bursts; one summary answers those of this many ms. */
const SETTLE = 300;

/** What goes on with jobs, for the sidebar, and what the server says of runs and jobs as it happens. */
export class JobsModel extends Observable {
  readonly client: JobsClient;

  constructor(
    private readonly _model: ICloudML,
    events: Event.IManager
  ) {
    super();
    this.client = new JobsClient(_model.client);
    events.stream.connect(this._onEvent, this);
    this._poll = new Poll({
      name: 'jupyter-cloudml:jobs',
      auto: false,
      factory: () => this._load(),
      frequency: { interval: RECONCILE, backoff: true, max: 4 * RECONCILE },
      standby: 'when-hidden'
    });
  }

  /** Null before the first answer. */
  get summary(): ISummary | null {
    return this._summary;
  }

  get error(): CloudMLError | null {
    return this._error;
  }

  /** Emitted when the state of a run changed. */
  get runMoved(): ISignal<this, IRunEvent> {
    return this._runMoved;
  }

  /** Emitted with the id of a run that has said something. */
  get recordsCame(): ISignal<this, string> {
    return this._recordsCame;
  }

  /** Emitted with the name of a job that was made, changed, paused or deleted. */
  get jobMoved(): ISignal<this, string> {
    return this._jobMoved;
  }

  /** The time on the server, UTC epoch ms. */
  now(): number {
    return this._model.now();
  }

  /** Whether anybody sees the summary: only then is it asked for. */
  setVisible(visible: boolean): void {
    this._visible = visible;
    if (visible) {
      void this.refresh();
    } else {
      window.clearTimeout(this._settling);
      this._settling = 0;
      void this._poll.stop();
    }
  }

  async refresh(): Promise<void> {
    await this._poll.refresh();
    await this._poll.tick.catch(() => undefined);
  }

  protected override release(): void {
    window.clearTimeout(this._settling);
    this._poll.dispose();
  }

  private async _load(): Promise<void> {
    try {
      this._summary = await this.client.summary();
      this._error = null;
    } catch (reason) {
      this._error = CloudMLError.from(reason);
    }
    this.emit();
    if (this._error) {
      throw this._error;
    }
  }

  private _onEvent(_: Event.IManager, emission: Event.Emission): void {
    if (emission.schema_id === EventIDs.run) {
      this._runMoved.emit(emission as unknown as IRunEvent);
      this._settle();
    } else if (emission.schema_id === EventIDs.runRecords) {
      this._recordsCame.emit(String(emission['id']));
    } else if (emission.schema_id === EventIDs.job) {
      this._jobMoved.emit(String(emission['name']));
      this._settle();
    }
  }

  private _settle(): void {
    if (this._visible) {
      this._settling ||= window.setTimeout(() => {
        this._settling = 0;
        void this.refresh();
      }, SETTLE);
    }
  }

  private readonly _poll: Poll;
  private readonly _runMoved = new Signal<this, IRunEvent>(this);
  private readonly _recordsCame = new Signal<this, string>(this);
  private readonly _jobMoved = new Signal<this, string>(this);
  private _summary: ISummary | null = null;
  private _error: CloudMLError | null = null;
  private _visible = false;
  private _settling = 0;
}
