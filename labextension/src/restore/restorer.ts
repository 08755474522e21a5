import { NotebookPanel } from '@jupyterlab/notebook';
import { Event, Kernel } from '@jupyterlab/services';
import { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { EventIDs } from '../events';
import { ExecutionsClient, RecordOf } from './client';
import { RecordFollower } from './follower';
import { NotebookOutputs } from './outputs';
import { IBatch, RecordReader } from './record';
import { SaveWatch } from './saved';
import { IRead } from './situation';
import { isDone } from './types';

/** In these states of a kernel nothing that ran goes on. */
const OVER: ReadonlyArray<Kernel.Status> = ['restarting', 'autorestarting', 'dead', 'terminating'];

export interface IServices {
  readonly client: ExecutionsClient;
  readonly events: Event.IManager;
  readonly kernels: Kernel.IManager;
  /** Tell the user. */
  readonly warn: (message: string) => void;
}

/** Reads the records that belong to one notebook, at its opening and whenever they may have more. */
export class NotebookRestorer implements IDisposable {
  constructor(
    panel: NotebookPanel,
    private readonly _services: IServices
  ) {
    this._views = [panel];
    this._context = panel.context;
    this.outputs.show(panel);
    this.outputs.replied.connect(this.pull, this);
    this._saves = new SaveWatch(panel.context, _services.client, () =>
      this.outputs.ended(this._ofLive)
    );
    const session = panel.sessionContext;
    session.kernelChanged.connect(this._onKernelChanged, this);
    session.connectionStatusChanged.connect(this._onConnectionStatus, this);
    session.statusChanged.connect(this._onStatus, this);
    _services.events.stream.connect(this._onEvent, this);
    void this._open(panel);
  }

  readonly outputs = new NotebookOutputs();

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Another view of the document. */
  addView(panel: NotebookPanel): void {
    this._views = [...this._views, panel];
  }

  /** A view was closed. Returns whether it was the last. */
  removeView(panel: NotebookPanel): boolean {
    this._views = this._views.filter(view => view !== panel);
    if (this.outputs.panel === panel) {
      this.outputs.show(this._views[0] ?? null);
      this.pull();
    }
    return this._views.length === 0;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._ended?.dispose();
    this._live?.dispose();
    this._saves.dispose();
    this.outputs.abandon();
    Signal.disconnectReceiver(this);
  }

  /** Read what is new, and what is wanted. */
  pull(): void {
    void this._ended?.pull();
    void this._live?.pull();
  }

  /**
   * First what kernels have left that are gone, as a notebook without a kernel is given a new one; then what the
   * kernel at hand has.
   */
  private async _open(panel: NotebookPanel): Promise<void> {
    await Promise.all([this._context.ready, panel.revealed]);
    if (this._isDisposed) {
      return;
    }
    const of = { path: this._context.path };
    this._ended = this._follow(of, batch => void this._applyEnded(batch, of));
    await this._ended.pull();
    await this._context.sessionContext.ready;
    this._onKernelChanged();
  }

  private async _applyEnded(batch: IBatch, of: RecordOf): Promise<void> {
    const { kernels } = this._services;
    await kernels.ready;
    if ([...kernels.running()].some(({ id }) => id === batch.kernelId)) {
      await this._context.sessionContext.ready;
      if (this._context.sessionContext.session?.kernel?.id === batch.kernelId) {
        return; // It is not gone: its own record is followed.
      }
    }
    const executions = batch.executions.map(execution =>
      isDone(execution)
        ? execution
        : { ...execution, status: 'aborted' as const, input_request: null }
    );
    this._apply({ ...batch, executions }, { of, when: 'opening', kernel: null });
  }

  private _onKernelChanged(): void {
    const kernel = this._context.sessionContext.session?.kernel ?? null;
    if (this._isDisposed || !this._ended || kernel === this._kernel) {
      return;
    }
    if (!kernel) {
      this._onOver();
      return;
    }
    this.outputs.abandon();
    this._live?.dispose();
    let when: IRead['when'] = this._kernel ? 'new kernel' : 'opening';
    this._kernel = kernel;
    const of = (this._ofLive = { kernelId: kernel.id });
    this._live = this._follow(of, batch => {
      this._apply(batch, { of, when, kernel });
      when = 'later';
    });
    void this._live.pull();
  }

  private _follow(of: RecordOf, apply: (batch: IBatch) => void): RecordFollower {
    return new RecordFollower({
      reader: new RecordReader(of, this._services.client),
      apply,
      whole: () => this.outputs.wanting(of),
      waiting: () => this.outputs.unended(of) || this.outputs.wanting(of)
    });
  }

  private _apply(batch: IBatch, read: IRead): void {
    if (this._isDisposed) {
      return;
    }
    this._saves.found(this.outputs.apply(batch, read));
    if (batch.notice && batch.notice !== this._noticed) {
      this._services.warn(`${this._context.path}: ${batch.notice}`);
    }
    this._noticed = batch.notice;
  }

  /** What the socket would have brought while it is down is lost to this page: the record has it. */
  private _onConnectionStatus(): void {
    const kernel = this._kernel;
    if (!kernel || !this._ofLive || OVER.includes(kernel.status)) {
      return;
    }
    if (kernel.connectionStatus !== 'connected') {
      this.outputs.want(this._ofLive, this.outputs.running());
    } else if (this.outputs.following || this.outputs.wanting(this._ofLive)) {
      void this._live?.pull();
    }
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (OVER.includes(status)) {
      this._onOver();
    }
  }

  /** The kernel has perhaps said more before its end than is shown. */
  private _onOver(): void {
    void this._live?.pull().then(() => this.outputs.abandon());
  }

  private _onEvent(_: unknown, event: Event.Emission): void {
    if (
      event.schema_id === EventIDs.executions &&
      event['kernel_id'] === this._kernel?.id &&
      this.outputs.following
    ) {
      void this._live?.pull();
    }
  }

  private readonly _context: NotebookPanel['context'];
  private readonly _saves: SaveWatch;
  private _views: ReadonlyArray<NotebookPanel>;
  /** Of the kernels of this notebook that are gone; there once the document is open. */
  private _ended: RecordFollower | null = null;
  /** Of the kernel at hand. */
  private _live: RecordFollower | null = null;
  private _ofLive: RecordOf | null = null;
  private _kernel: Kernel.IKernelConnection | null = null;
  private _noticed: string | null = null;
  private _isDisposed = false;
}
