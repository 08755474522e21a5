import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';

import { CloudMLModel } from '../model';
import { Observable } from '../observable';
import { NotebookPlace } from './place';

/** The notebook in front, and where each open notebook's kernel runs. It has changed when another one is in front, is renamed, or moves. */
export class CurrentNotebook extends Observable {
  constructor(
    private readonly _notebooks: INotebookTracker,
    private readonly _model: CloudMLModel
  ) {
    super();
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

  private _follow(): void {
    if (this._panel && !this._panel.isDisposed) {
      this._panel.context.pathChanged.disconnect(this._onMoved, this);
      this.placeOf(this._panel).changed.disconnect(this._onMoved, this);
    }
    this._panel = this._notebooks.currentWidget;
    if (this._panel) {
      this._panel.context.pathChanged.connect(this._onMoved, this);
      this.placeOf(this._panel).changed.connect(this._onMoved, this);
    }
    this.emit();
  }

  private _onMoved(): void {
    this.emit();
  }

  private readonly _places = new WeakMap<NotebookPanel, NotebookPlace>();
  private _panel: NotebookPanel | null = null;
}
