import { showErrorMessage } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { TranslationBundle } from '@jupyterlab/translation';
import { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { showStale } from './dialog';
import { StaleNotice } from './notice';
import { IServices, NotebookRestorer } from './restorer';
import { IExecution } from './types';

/** A restorer for each open notebook document. */
export class NotebookRestorers implements IDisposable {
  constructor(
    notebooks: INotebookTracker,
    private readonly _services: IServices,
    private readonly _trans: TranslationBundle
  ) {
    notebooks.widgetAdded.connect(this._add, this);
    notebooks.forEach(panel => this._add(null, panel));
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    Signal.disconnectReceiver(this);
    for (const { restorer, notice } of this._open.values()) {
      notice.dispose();
      restorer.dispose();
    }
    this._open.clear();
  }

  private _add(_: unknown, panel: NotebookPanel): void {
    const open = this._open.get(panel.context);
    if (open) {
      open.restorer.addView(panel);
    } else {
      const restorer = new NotebookRestorer(panel, this._services);
      const notice = new StaleNotice({
        stale: restorer.outputs.stale,
        trans: this._trans,
        name: () => panel.context.localPath.split('/').pop() ?? panel.context.path,
        shared: () => isShared(panel),
        show: () => void this._show(restorer)
      });
      this._open.set(panel.context, { restorer, notice });
    }
    panel.disposed.connect(this._remove, this);
  }

  private _remove(panel: NotebookPanel): void {
    for (const [context, { restorer, notice }] of this._open) {
      if (restorer.removeView(panel)) {
        this._open.delete(context);
        notice.dispose();
        restorer.dispose();
      }
    }
  }

  /** Show what was left out, as the records have it now. */
  private async _show(restorer: NotebookRestorer): Promise<void> {
    const { client } = this._services;
    const { outputs } = restorer;
    try {
      const executions = await outputs.stale.read(client);
      const { panel } = outputs;
      if (panel) {
        await showStale({
          executions,
          rendermime: panel.content.rendermime,
          trans: this._trans,
          restore: isShared(panel) ? null : execution => this._restore(restorer, execution),
          discard: execution => this._discard(restorer, execution)
        });
      }
    } catch (reason) {
      void showErrorMessage(this._trans.__('The recorded outputs cannot be read'), `${reason}`);
    }
  }

  private _restore(restorer: NotebookRestorer, execution: IExecution): void {
    restorer.outputs.accept(execution);
    restorer.pull();
  }

  private _discard({ outputs }: NotebookRestorer, execution: IExecution): void {
    const of = outputs.stale.recordOf(execution);
    outputs.stale.remove(execution.msg_id);
    if (of) {
      // Lost, it costs no more than the same question at the next opening.
      this._services.client.acknowledge(of, [execution.msg_id]).catch(() => undefined);
    }
  }

  private readonly _open = new Map<
    NotebookPanel['context'],
    { restorer: NotebookRestorer; notice: StaleNotice }
  >();
  private _isDisposed = false;
}

/** Whether several people edit the document, whose outputs are then the same for all of their pages. */
function isShared(panel: NotebookPanel): boolean {
  return panel.context.model.collaborative ?? false;
}
