import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import { StateIcon, placeWord } from '../presentation';
import { ICloudML, ICurrentNotebook } from '../tokens';

/** The machine of the notebook in front, in the status bar. */
export class StatusItem extends ReactWidget {
  constructor(
    private readonly _model: ICloudML,
    private readonly _notebook: ICurrentNotebook,
    private readonly _trans: TranslationBundle,
    private readonly _onClick: () => void
  ) {
    super();
    this.addClass('jp-mod-highlighted');
  }

  protected override render(): JSX.Element {
    return (
      <UseSignal signal={this._notebook.changed}>
        {() => {
          const place = this._notebook.place?.value;
          if (!place) {
            return null;
          }
          const trans = this._trans;
          const machine = this._model.machine(place.machine)?.label ?? place.machine;
          const word = placeWord(trans, place.state);
          const text = machine ? trans.__('%1: %2', machine, word) : word;
          return (
            <button
              type="button"
              className="jp-StatusBar-TextItem jp-cloudml-status"
              title={trans.__('Where this notebook runs. Click for the machines.')}
              onClick={this._onClick}
            >
              <StateIcon state={place.state} />
              {text}
            </button>
          );
        }}
      </UseSignal>
    );
  }
}
