import { PathExt } from '@jupyterlab/coreutils';
import { NotebookPanel } from '@jupyterlab/notebook';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal, caretDownEmptyIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { NotebookPlace } from '../notebook/place';
import { StateIcon, placeWord } from '../presentation';
import { stepText } from '../text';
import { ICloudML } from '../tokens';

/** The button in a notebook's toolbar: where its kernel runs, and how it is. */
export class MachineButton extends ReactWidget {
  constructor(
    private readonly _panel: NotebookPanel,
    private readonly _place: NotebookPlace,
    private readonly _model: ICloudML,
    private readonly _trans: TranslationBundle,
    private readonly _choose: () => void
  ) {
    super();
    this.addClass('jp-cloudml-toolbar-item');
  }

  protected override render(): JSX.Element {
    return <UseSignal signal={this._place.changed}>{() => this._renderButton()}</UseSignal>;
  }

  private _renderButton(): JSX.Element {
    const trans = this._trans;
    const place = this._place.value;
    const machine = this._model.machine(place.machine)?.label ?? place.machine;
    const word = placeWord(trans, place.state);
    const what = machine ? trans.__('%1, %2', machine, word) : word;
    const step = place.step ? ` ${stepText(trans, place.step)}` : '';
    const name = PathExt.basename(this._panel.context.path);
    return (
      <button
        type="button"
        className="jp-cloudml-machine-button"
        aria-haspopup="dialog"
        aria-label={trans.__('Machine of %1: %2. Choose another.', name, what)}
        title={trans.__('This notebook runs on: %1%2', what, step)}
        onClick={this._choose}
      >
        <StateIcon state={place.state} />
        {machine && <span className="jp-cloudml-name">{machine}</span>}{' '}
        <span className="jp-cloudml-word">{word}</span>
        <caretDownEmptyIcon.react tag={null} />
      </button>
    );
  }
}
