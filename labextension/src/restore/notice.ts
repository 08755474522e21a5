import { Notification } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { StaleExecutions } from './stale';

export interface INoticeOptions {
  readonly stale: StaleExecutions;
  readonly trans: TranslationBundle;
  /** The document's name. */
  readonly name: () => string;
  /** Whether the document is edited together, where nothing is put in. */
  readonly shared: () => boolean;
  readonly show: () => void;
}

/** The one notification about outputs that were left out of a notebook. */
export class StaleNotice implements IDisposable {
  constructor(private readonly _options: INoticeOptions) {
    _options.stale.changed.connect(this._update, this);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._dismiss();
      Signal.disconnectReceiver(this);
    }
  }

  private _update(): void {
    const { stale, trans, show } = this._options;
    if (stale.size === 0) {
      this._dismiss();
      return;
    }
    const message = this._message(stale.size);
    if (this._id && Notification.manager.has(this._id)) {
      Notification.update({ id: this._id, message });
      return;
    }
    this._id = Notification.info(message, {
      autoClose: false,
      actions: [{ label: trans.__('Show'), callback: show, displayType: 'accent' }]
    });
  }

  private _message(cells: number): string {
    const { trans, name, shared } = this._options;
    return shared()
      ? trans._n(
          '%2 is edited together: the outputs of %1 cell were not put in.',
          '%2 is edited together: the outputs of %1 cells were not put in.',
          cells,
          name()
        )
      : trans._n(
          '%2: outputs of %1 cell whose code has changed.',
          '%2: outputs of %1 cells whose code has changed.',
          cells,
          name()
        );
  }

  private _dismiss(): void {
    if (this._id) {
      Notification.dismiss(this._id);
      this._id = null;
    }
  }

  private _id: string | null = null;
  private _isDisposed = false;
}
