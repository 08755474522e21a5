import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { EnvironmentChoice, IChoiceGroup, choices } from '../environments/choice';
import { LOCAL, machineSpecs } from '../specs';
import { ICloudMLSettings } from '../settings';
import { ICloudML } from '../tokens';
import { IFoundSource, IImage } from '../types';

const SELECT = 'jp-cloudml-move-environment';

/** A notebook that is to move. */
export interface IQuestion {
  /** The path of the notebook on the server. */
  readonly path: string;
  /** The kernelspec that was chosen. */
  readonly spec: string;
  readonly machine: string;
  readonly label: string;
  /** The kernel here that the notebook has now, whose packages it could have there; null is the server's Python. */
  readonly before: string | null;
}

/** What moving means, and in which environment the notebook is to run there; the body of a dialog. */
export class MoveQuestion extends ReactWidget implements Dialog.IBodyWidget<EnvironmentChoice> {
  constructor(
    private readonly _of: IQuestion,
    private readonly _model: ICloudML,
    private readonly _settings: ICloudMLSettings,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-cloudml-consequences');
    this._choice = { spec: _of.spec };
    if (_of.machine !== LOCAL) {
      void this._find();
    }
  }

  getValue(): EnvironmentChoice {
    return this._choice;
  }

  protected override render(): JSX.Element {
    const { _of: of, _trans: trans } = this;
    const machine = this._model.machine(of.machine);
    return (
      <>
        <p>
          {trans.__('A new kernel starts on %1. Variables stay behind in the old one.', of.label)}{' '}
          {this._settings.syncCode && of.machine !== LOCAL
            ? trans.__(
                'The code in its folder is sent there first; other files stay where they are.'
              )
            : trans.__('Files stay where they are.')}
        </p>
        {machine && machine.state !== 'running' && (
          <p>
            {machine.state === 'unreachable'
              ? trans.__('%1 is unreachable now: %2', of.label, machine.cause ?? '')
              : trans.__('%1 is not connected: connecting comes first.', of.label)}
          </p>
        )}
        {of.machine !== LOCAL && this._renderSelect(this._groups())}
      </>
    );
  }

  private _renderSelect(groups: ReadonlyArray<IChoiceGroup>): JSX.Element {
    const lines = groups.flatMap(group => group.lines);
    return (
      <div className="jp-cloudml-policies">
        <label htmlFor={SELECT}>{this._trans.__('Environment')}</label>
        <HTMLSelect
          id={SELECT}
          defaultValue={`spec:${this._of.spec}`}
          onChange={event => {
            const line = lines.find(each => each.key === event.target.value);
            this._choice = line?.choice ?? { spec: this._of.spec };
          }}
        >
          {groups.map(group => (
            <optgroup key={group.title} label={group.title}>
              {group.lines.map(line => (
                <option key={line.key} value={line.key}>
                  {line.text}
                </option>
              ))}
            </optgroup>
          ))}
        </HTMLSelect>
      </div>
    );
  }

  private _groups(): ReadonlyArray<IChoiceGroup> {
    const { machine, before } = this._of;
    const specs = machineSpecs(this._model.specs.specs, machine);
    return choices(specs, this._sources, this._images, before, this._trans);
  }

  /** Look for what can be built; the dialog is there meanwhile, and stays as it is where nothing is found. */
  private async _find(): Promise<void> {
    const { client } = this._model;
    const [sources, images] = await Promise.all([
      client.environmentSources(this._of.path).catch(() => []),
      client.images().catch(() => [])
    ]);
    this._sources = sources;
    this._images = images;
    this.update();
  }

  private _choice: EnvironmentChoice;
  private _sources: ReadonlyArray<IFoundSource> = [];
  private _images: ReadonlyArray<IImage> = [];
}
