import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import { Refusal } from '../add/parts';
import { StateIcon } from '../presentation';
import { ICloudML } from '../tokens';
import { ICheckStep } from '../types';
import { CheckModel } from './model';

/** Shows what works between here and a machine, and what to do about the rest. */
export class CheckWidget extends ReactWidget {
  constructor(
    machine: string,
    private readonly _label: string,
    model: ICloudML,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-cloudml-page');
    this._check = new CheckModel(machine, model);
    void this._check.run();
  }

  /** Make the diagnosis again. */
  again(): void {
    if (!this._check.running) {
      void this._check.run();
    }
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._check.dispose();
    }
    super.dispose();
  }

  protected override render(): JSX.Element {
    const trans = this._trans;
    return (
      <UseSignal signal={this._check.changed}>
        {() => (
          <div className="jp-cloudml-page-content">
            <h1>{trans.__('Check of %1', this._label)}</h1>
            <ol className="jp-cloudml-checks" aria-label={trans.__('Steps')}>
              {this._check.steps.map(step => (
                <Step key={step.step} step={step} trans={trans} />
              ))}
            </ol>
            {this._renderOutcome()}
          </div>
        )}
      </UseSignal>
    );
  }

  private _renderOutcome(): JSX.Element {
    const trans = this._trans;
    const { error, running, steps } = this._check;
    if (running) {
      return (
        <>
          <p className="jp-cloudml-row-line" role="status">
            <StateIcon state="starting" />
            {trans.__('Checking…')}
          </p>
          <div className="jp-cloudml-buttons">
            <button
              type="button"
              className="jp-mod-styled jp-mod-reject"
              onClick={() => void this._check.cancel()}
            >
              {trans.__('Cancel')}
            </button>
          </div>
        </>
      );
    }
    const failed = steps.filter(step => !step.ok).length;
    return (
      <>
        {error ? (
          <Refusal error={error} />
        ) : (
          <p role="status">
            {failed === 0
              ? trans.__('Everything works.')
              : trans._n('%1 step failed.', '%1 steps failed.', failed)}
          </p>
        )}
        <div className="jp-cloudml-buttons">
          <button type="button" className="jp-mod-styled" onClick={() => this.again()}>
            {trans.__('Check again')}
          </button>
        </div>
      </>
    );
  }

  private readonly _check: CheckModel;
}

function Step(props: {
  readonly step: ICheckStep;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { step, trans } = props;
  return (
    <li className="jp-cloudml-check" data-ok={step.ok}>
      <div className="jp-cloudml-row-line">
        <StateIcon state={step.ok ? 'running' : 'unreachable'} />
        <span className="jp-cloudml-name">{step.step}</span>{' '}
        <span className="jp-cloudml-word">{step.ok ? trans.__('ok') : trans.__('failed')}</span>
        {step.ms != null && (
          <span className="jp-cloudml-elapsed">{trans.__('%1 ms', Math.round(step.ms))}</span>
        )}
      </div>
      {step.detail && <div className="jp-cloudml-detail">{step.detail}</div>}
      {step.hint && <div className="jp-cloudml-hint">{step.hint}</div>}
    </li>
  );
}
