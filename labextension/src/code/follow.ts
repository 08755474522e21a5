import { ISessionContext } from '@jupyterlab/apputils';
import { DocumentRegistry } from '@jupyterlab/docregistry';
import { NotebookPanel } from '@jupyterlab/notebook';
import { Kernel } from '@jupyterlab/services';
import { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';

import { ICloudMLSettings } from '../settings';
import { LOCAL } from '../specs';
import { ICurrentNotebook } from '../tokens';
import { CodeModel } from './model';

/** Files can change without anybody telling: they are compared anew after so many ms. */
const RECONCILE = 45_000;
/** A run writes its files, then the kernel is idle: the machine is asked after so many ms of quiet. */
const QUIET = 1_500;

/** Has a CodeModel be about the notebook in front, and look again when it was saved or has run. */
export class CodeFollower implements IDisposable {
  constructor(
    private readonly _code: CodeModel,
    private readonly _notebook: ICurrentNotebook,
    private readonly _settings: ICloudMLSettings,
    private readonly _isVisible: () => boolean
  ) {
    _notebook.changed.connect(this._onNotebook, this);
    this._poll = new Poll({
      name: 'jupyter-cloudml:code',
      auto: false,
      factory: () => this._look(),
      frequency: { interval: RECONCILE, backoff: true },
      standby: () => (this._isVisible() ? 'when-hidden' : true)
    });
    void this._poll.start();
    this._onNotebook();
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** Compare now. */
  refresh(): void {
    void this._poll.refresh();
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._notebook.changed.disconnect(this._onNotebook, this);
    this._connect(null);
    window.clearTimeout(this._settling);
    this._poll.dispose();
  }

  private async _look(): Promise<void> {
    if (!this._code.running) {
      await this._code.refresh();
      await this._code.lookThere();
    }
  }

  private _onNotebook(): void {
    const { panel, place } = this._notebook;
    if (panel !== this._panel) {
      this._connect(panel);
    }
    const { machine, state } = place?.value ?? { machine: null, state: 'none' };
    const remote = panel && machine && machine !== LOCAL && state !== 'moving';
    const before = this._code.of;
    this._code.setTarget(remote ? { path: panel.context.localPath, machine } : null);
    if (remote && this._code.of !== before) {
      this._settle();
    }
  }

  private _connect(panel: NotebookPanel | null): void {
    if (this._panel && !this._panel.isDisposed) {
      this._panel.context.saveState.disconnect(this._onSave, this);
      this._panel.sessionContext.statusChanged.disconnect(this._onStatus, this);
    }
    this._panel = panel;
    panel?.context.saveState.connect(this._onSave, this);
    panel?.sessionContext.statusChanged.connect(this._onStatus, this);
  }

  private _onSave(_: DocumentRegistry.Context, state: DocumentRegistry.SaveState): void {
    if (state !== 'started') {
      void this._code.refresh();
    }
  }

  private _onStatus(_: ISessionContext, status: Kernel.Status): void {
    if (status === 'busy') {
      this._ran = true;
    } else if (status === 'idle' && this._ran) {
      this._ran = false;
      this._settle(this._settings.pullAfterRuns);
    }
  }

  /** Ask the machine once all is quiet; `pull` brings back what was changed there. */
  private _settle(pull = false): void {
    window.clearTimeout(this._settling);
    this._settling = window.setTimeout(() => void this._ask(pull), QUIET);
  }

  private async _ask(pull: boolean): Promise<void> {
    await this._code.lookThere();
    if (pull && this._code.hasChangesThere) {
      await this._code.pull();
    }
  }

  private readonly _poll: Poll;
  private _panel: NotebookPanel | null = null;
  private _ran = false;
  private _settling = 0;
}
