import { DocumentRegistry } from '@jupyterlab/docregistry';
import { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { ExecutionsClient, IRecorded, byRecord } from './client';

/**
 * Tells the recorder which executions a saved file holds.
 *
 * From then on the file rules: outputs that the user cleared stay cleared. An acknowledgement that is lost costs
 * nothing: the next opening finds that the cell holds what the record has.
 */
export class SaveWatch implements IDisposable {
  constructor(
    private readonly _context: DocumentRegistry.Context,
    private readonly _client: ExecutionsClient,
    private readonly _shown: () => ReadonlyArray<IRecorded>
  ) {
    _context.saveState.connect(this._onSaveState, this);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
  }

  /** The document was found to show these already when it was opened. */
  found(shown: ReadonlyArray<IRecorded>): void {
    this._unsaved.push(...shown);
    if (!this._context.model.dirty) {
      this._acknowledge();
    }
  }

  private _onSaveState(_: unknown, state: DocumentRegistry.SaveState): void {
    if (state === 'started') {
      this._unsaved.push(...this._shown());
    } else if (state === 'completed') {
      this._acknowledge();
    }
  }

  private _acknowledge(): void {
    for (const { of, msgIds } of byRecord(this._unsaved)) {
      this._client.acknowledge(of, msgIds).catch(() => undefined); // As said above.
    }
    this._unsaved = [];
  }

  private _unsaved: IRecorded[] = [];
  private _isDisposed = false;
}
