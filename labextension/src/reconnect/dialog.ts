import { Dialog } from '@jupyterlab/apputils';
import { ITranslator } from '@jupyterlab/translation';
import { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

/** How long after the server's return a request of before may still be found to have failed, in ms. */
const LATE_MS = 5000;

/** Closes Lab's "Server Connection Error" once it is no longer true, which Lab leaves to the user. */
export class ErrorDialogCloser implements IDisposable {
  constructor(translator: ITranslator) {
    // The string of ConnectionLost in @jupyterlab/application, in the user's language.
    this._title = translator.load('jupyterlab').__('Server Connection Error');
    Dialog.tracker.widgetAdded.connect(this._onAdded, this);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.disconnectReceiver(this);
  }

  /** The server is back: close the dialog, and the one that may be on its way. */
  close(): void {
    this._closeUntil = performance.now() + LATE_MS;
    Dialog.tracker.forEach(dialog => this._closeIfIt(dialog));
  }

  private _onAdded(_: unknown, dialog: Dialog<unknown>): void {
    if (performance.now() < this._closeUntil) {
      // It is not launched yet, so it cannot be closed yet.
      window.setTimeout(() => this._closeIfIt(dialog), 0);
    }
  }

  private _closeIfIt(dialog: Dialog<unknown>): void {
    const header = dialog.node.querySelector('.jp-Dialog-header')?.textContent;
    const label = dialog.node.getAttribute('aria-label');
    if (header === this._title || label?.startsWith(`${this._title} `)) {
      dialog.reject();
    }
  }

  private readonly _title: string;
  private _closeUntil = 0;
  private _isDisposed = false;
}
