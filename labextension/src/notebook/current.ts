import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { CloudMLModel } from '../model';
import { NotebookPlace } from './place';

/** The notebook in front, and where each open notebook's kernel runs. */
export class CurrentNotebook implements IDisposable {
  constructor(
    private readonly _notebooks: INotebookTracker,
    private readonly _model: CloudMLModel
  ) {
    _notebooks.currentChanged.connect(this._follow, this);
    this._follow();
  }

  get panel(): NotebookPanel | null {
    return this._panel;
  }

  /** Where the kernel of the notebook in front runs; null without a notebook. */
  get place(): NotebookPlace | null {
    return this._panel ? this.placeOf(this._panel) : null;
  }

  /** Emitted when another notebook is in front, is renamed, or its place changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** The place of any open notebook; it lives as long as the panel. */
  placeOf(panel: NotebookPanel): NotebookPlace {
    const known = this._places.get(panel);
    if (known) {
      return known;
    }
    const place = new NotebookPlace(panel.sessionContext, this._model);
    this._places.set(panel, place);
    panel.disposed.connect(() => place.dispose());
    return place;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    Signal.clearData(this);
  }

  private _follow(): void {
    if (this._panel && !this._panel.isDisposed) {
      this._panel.context.pathChanged.disconnect(this._emit, this);
      this.placeOf(this._panel).changed.disconnect(this._emit, this);
    }
    this._panel = this._notebooks.currentWidget;
    if (this._panel) {
      this._panel.context.pathChanged.connect(this._emit, this);
      this.placeOf(this._panel).changed.connect(this._emit, this);
    }
    this._emit();
  }

  private _emit(): void {
    this._changed.emit();
  }

  private readonly _changed = new Signal<this, void>(this);
  private readonly _places = new WeakMap<NotebookPanel, NotebookPlace>();
  private _panel: NotebookPanel | null = null;
  private _isDisposed = false;
}
