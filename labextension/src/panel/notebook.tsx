import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { PathExt } from '@jupyterlab/coreutils';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { CodeFollower } from '../code/follow';
import { CodeSection } from '../code/section';
import { DriftSection } from '../drift/section';
import { GaugesModel, gaugesOf } from '../gauges';
import { IPlace } from '../notebook/place';
import { StateIcon, placeWord } from '../presentation';
import { CommandIDs } from '../tokens';
import { Gauges } from './gauges';
import { ISectionProps, PlaceDetail, actsFor } from './place';

/** The section about the notebook in front. */
export class NotebookSection extends ReactWidget {
  constructor(private readonly _props: ISectionProps) {
    super();
    this.addClass('jp-cloudml-section');
    this.title.label = _props.trans.__('This notebook');
    const { code, model, notebook, settings } = _props;
    this._gauges = new GaugesModel(
      async () => {
        const target = this._target();
        return target && gaugesOf(model.client, target);
      },
      () => settings.showGauges && this.isVisible
    );
    this._follower = new CodeFollower(code, notebook, settings, () => this.isVisible);
    settings.changed.connect(this._onSettings, this);
    notebook.changed.connect(this._onPlace, this);
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._gauges.dispose();
      this._follower.dispose();
    }
    super.dispose();
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this._gauges.refresh();
    this._follower.refresh();
  }

  protected override render(): JSX.Element {
    return (
      <UseSignal signal={this._props.notebook.changed}>
        {() => {
          const { panel, place } = this._props.notebook;
          const { trans } = this._props;
          return panel && place ? (
            this._renderPlace(PathExt.basename(panel.context.path), place.value)
          ) : (
            <p className="jp-cloudml-empty">
              {trans.__('Open a notebook to see and choose where it runs.')}
            </p>
          );
        }}
      </UseSignal>
    );
  }

  private _renderPlace(name: string, place: IPlace): JSX.Element {
    const { code, commands, drift, model, settings, trans } = this._props;
    const label = model.machine(place.machine)?.label ?? place.machine;
    return (
      <div className="jp-cloudml-place" data-state={place.state}>
        <div className="jp-cloudml-row-line">
          <span className="jp-cloudml-document" title={name}>
            {name}
          </span>
          <button
            type="button"
            className="jp-cloudml-button"
            aria-label={trans.__('Change the machine of %1', name)}
            onClick={() => void commands.execute(CommandIDs.chooseMachine)}
          >
            {place.state === 'none' ? trans.__('Choose…') : trans.__('Change…')}
          </button>
        </div>
        <div className="jp-cloudml-row-line">
          <StateIcon state={place.state} />
          {label && <span className="jp-cloudml-name">{label}</span>}{' '}
          <span className="jp-cloudml-word" role="status">
            {placeWord(trans, place.state)}
          </span>
        </div>
        <div className="jp-cloudml-row-line">
          <span className="jp-cloudml-detail">
            <PlaceDetail place={place} props={this._props} />
          </span>
          {actsFor(place, this._props).map(([text, accessible, act]) => (
            <button
              key={text}
              type="button"
              className="jp-cloudml-button"
              aria-label={accessible}
              onClick={act}
            >
              {text}
            </button>
          ))}
        </div>
        {!place.durable && place.state === 'running' && (
          <p className="jp-cloudml-hint">
            {trans.__(
              'A plain kernel: it ends with the Jupyter server. Change… offers one that lasts.'
            )}
          </p>
        )}
        {code.of && (
          <CodeSection
            code={code}
            label={label ?? code.of.machine}
            started={(place.state === 'running' && model.kernel(place.kernelId)?.code) || null}
            now={() => model.now()}
            trans={trans}
          />
        )}
        {drift && place.kernelId && place.state === 'running' && (
          <DriftSection
            drift={drift}
            kernelId={place.kernelId}
            label={label ?? ''}
            makeEqual={() => void commands.execute(CommandIDs.makeEqual)}
            trans={trans}
          />
        )}
        {settings.showGauges && place.state === 'running' && (
          <UseSignal signal={this._gauges.changed}>
            {() =>
              this._gauges.value && (
                <Gauges
                  gauges={this._gauges.value}
                  says={own => trans.__('This kernel: %1', own)}
                  trans={trans}
                />
              )
            }
          </UseSignal>
        )}
      </div>
    );
  }

  private _target(): { machine: string; kernel: string | null } | null {
    const place = this._props.notebook.place?.value;
    if (!place?.machine || place.state !== 'running') {
      return null;
    }
    return { machine: place.machine, kernel: place.durable ? place.kernelId : null };
  }

  private _onSettings(): void {
    this._gauges.setInterval(this._props.settings.gaugeInterval);
    this.update();
  }

  private _onPlace(): void {
    const target = this._target();
    const key = target ? `${target.machine} ${target.kernel}` : '';
    if (key !== this._measured) {
      this._measured = key;
      this._gauges.refresh();
    }
  }

  private readonly _gauges: GaugesModel;
  private readonly _follower: CodeFollower;
  private _measured = '';
}
