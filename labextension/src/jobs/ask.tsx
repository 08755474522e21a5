import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import { JSONObject, JSONValue } from '@lumino/coreutils';
import * as React from 'react';

import { CloudMLError } from '../api';
import { titledDialog } from '../dialogs';
import { machineSpecs, specMachine } from '../specs';
import { ICloudML } from '../tokens';
import { ParameterFields, collect, kindText } from './parameters';
import { Preview } from './preview';
import { SweepField, sweepHelp } from './sweep_field';
import { MOST, readSweep } from './sweeps';
import { IFileCell, IParameter, ISelection } from './types';

const SCHEDULE = 'schedule';

/** What is to be run, and what the question begins with. */
export interface IProposal {
  readonly title: string;
  readonly machine: string;
  /** The kernelspec of the notebook's kernel now, where it has one. */
  readonly kernel: string | null;
  readonly parameters: Promise<ReadonlyArray<IParameter>>;
  /** Selected cells of a notebook, where not all of it is meant. */
  readonly selection: { readonly found: ISelection; readonly chosen: ReadonlySet<number> } | null;
}

/** What the user has said. */
export interface IAnswer {
  readonly machine: string;
  readonly kernel: string | null;
  readonly parameters: JSONObject;
  /** With which values it is run, each with each; undefined: once. */
  readonly sweep: JSONValue | undefined;
  /** The places of the cells to run, where not all of them are. */
  readonly cells: ReadonlyArray<number> | null;
  /** Whether it is to become a job with times, in place of a run now. */
  readonly schedule: boolean;
}

/** The question and what was typed into it; it can be asked again with what was wrong. */
export class RunQuestion {
  constructor(
    private readonly _proposal: IProposal,
    private readonly _model: ICloudML,
    private readonly _trans: TranslationBundle
  ) {}

  /** Ask; null where it is given up. `error` is why the answer before could not be used. */
  async ask(error: CloudMLError | null): Promise<IAnswer | null> {
    for (;;) {
      const answer = await this._askOnce(error);
      if (answer?.wrong) {
        error = this._refusal(answer.wrong);
      } else if (answer?.wrongSweep) {
        error = this._refusedSweep();
      } else {
        return answer;
      }
    }
  }

  private async _askOnce(error: CloudMLError | null): Promise<IFormAnswer | null> {
    const trans = this._trans;
    const { selection, title } = this._proposal;
    const form = new RunForm(this._proposal, this._typed, error, this._model, trans);
    const schedule = Dialog.createButton({
      label: trans.__('Schedule…'),
      caption: trans.__('Make a job of it that runs at times'),
      accept: false,
      actions: [SCHEDULE]
    });
    const dialog = titledDialog<IFormAnswer>({
      title,
      body: form,
      buttons: [
        Dialog.cancelButton(),
        ...(selection ? [] : [schedule]),
        Dialog.okButton({ label: trans.__('Run') })
      ],
      focusNodeSelector: '.jp-Dialog-footer .jp-mod-accept'
    });
    dialog.addClass('jp-cloudml-dialog');
    const result = await dialog.launch();
    const isSchedule = result.button.actions.includes(SCHEDULE);
    return result.button.accept || isSchedule ? { ...form.getValue(), schedule: isSchedule } : null;
  }

  /** Why a parameter that is none of its kind is not sent: what runs would be the notebook's own value. */
  private _refusal({ name, kind }: IParameter): CloudMLError {
    const trans = this._trans;
    const message = trans.__('What is written for %1 is not %2.', name, kindText(trans, kind));
    return new CloudMLError({
      code: 'bad_parameter',
      message,
      hint: trans.__('Nothing was run. Correct it, or write the value of the notebook there.')
    });
  }

  private _refusedSweep(): CloudMLError {
    const trans = this._trans;
    return new CloudMLError({
      code: 'bad_sweep',
      message: trans.__('What it is to be run with each of cannot be read, or is too much.'),
      hint: trans.__('Nothing was run. %1', sweepHelp(trans))
    });
  }

  /** What was typed stays when it is asked again. */
  private readonly _typed: ITypedForm = { texts: {}, sweep: '', left: new Set() };
}

/** What the form has, and the first parameter whose text is no value. */
interface IFormAnswer extends IAnswer {
  readonly wrong: IParameter | null;
  readonly wrongSweep: boolean;
}

interface ITypedForm {
  machine?: string;
  kernel?: string | null;
  texts: Record<string, string>;
  sweep: string;
  /** Needed cells that are left out. */
  left: Set<number>;
}

class RunForm extends ReactWidget implements Dialog.IBodyWidget<IFormAnswer> {
  constructor(
    private readonly _proposal: IProposal,
    private readonly _typed: ITypedForm,
    private readonly _error: CloudMLError | null,
    private readonly _model: ICloudML,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-cloudml-run-form');
    this._machine = _typed.machine ?? _proposal.machine;
    _proposal.parameters.then(
      found => this._take(found),
      reason => this._take([], CloudMLError.from(reason))
    );
  }

  getValue(): IFormAnswer {
    const { values, wrong } = collect(this._parameters ?? [], this._typed.texts);
    return {
      machine: this._machine,
      kernel: this._kernel(),
      parameters: values,
      sweep: readSweep(this._typed.sweep)?.value,
      wrong,
      wrongSweep: (readSweep(this._typed.sweep)?.count ?? Infinity) > MOST,
      cells: this._cells(),
      schedule: false
    };
  }

  protected override render(): JSX.Element {
    const trans = this._trans;
    const machines = (this._model.machines ?? []).filter(each => each.state !== 'gone');
    const machine = this._model.machine(this._machine);
    const specs = this._specs();
    return (
      <>
        {this._error && (
          <div className="jp-cloudml-refusal" role="alert">
            <p>{this._error.message}</p>
            {this._error.hint && <p className="jp-cloudml-hint">{this._error.hint}</p>}
          </div>
        )}
        <div className="jp-cloudml-policies">
          <label htmlFor="jp-cloudml-run-machine">{trans.__('Machine')}</label>
          <HTMLSelect
            id="jp-cloudml-run-machine"
            value={this._machine}
            onChange={event => {
              this._machine = this._typed.machine = event.target.value;
              this._typed.kernel = null;
              this.update();
            }}
          >
            {machines.map(each => (
              <option key={each.name} value={each.name}>
                {each.label}
              </option>
            ))}
          </HTMLSelect>
          {machine && machine.state !== 'running' && (
            <p className="jp-cloudml-hint">
              {trans.__('%1 is not connected: the run waits until it is.', machine.label)}
            </p>
          )}
          <label htmlFor="jp-cloudml-run-kernel">{trans.__('Environment')}</label>
          <HTMLSelect
            id="jp-cloudml-run-kernel"
            value={this._kernel() ?? ''}
            onChange={event => {
              this._typed.kernel = event.target.value || null;
              this.update();
            }}
          >
            <option value="">{trans.__('as the notebook says')}</option>
            {specs.map(spec => (
              <option key={spec.name} value={spec.name}>
                {spec.title}
              </option>
            ))}
          </HTMLSelect>
          {this._renderParameters()}
          {(this._parameters?.length ?? 0) > 0 && (
            <SweepField
              text={this._typed.sweep}
              onChange={text => {
                this._typed.sweep = text;
                this.update();
              }}
              trans={trans}
            />
          )}
        </div>
        {this._proposal.selection && this._renderCells(this._proposal.selection)}
      </>
    );
  }

  private _renderParameters(): JSX.Element | null {
    const trans = this._trans;
    if (this._failure) {
      return <p className="jp-cloudml-hint">{this._failure.message}</p>;
    }
    if (!this._parameters?.length) {
      return null;
    }
    return (
      <ParameterFields
        parameters={this._parameters}
        texts={this._typed.texts}
        onChange={(name, text) => {
          this._typed.texts[name] = text;
          this.update();
        }}
        trans={trans}
      />
    );
  }

  private _renderCells(selection: NonNullable<IProposal['selection']>): JSX.Element {
    const { found, chosen } = selection;
    const shown = new Set(this._cells());
    const cells = found.cells.flatMap((place, at): [number, IFileCell][] => {
      const cell = found.content.cells[at];
      return cell && shown.has(place) ? [[place, cell]] : [];
    });
    return (
      <Preview
        cells={cells}
        chosen={chosen}
        found={found}
        left={this._typed.left}
        onLeave={(index, leave) => {
          this._typed.left[leave ? 'add' : 'delete'](index);
          this.update();
        }}
        trans={this._trans}
      />
    );
  }

  private _cells(): ReadonlyArray<number> | null {
    const found = this._proposal.selection?.found;
    return found ? found.cells.filter(each => !this._typed.left.has(each)) : null;
  }

  private _take(parameters: ReadonlyArray<IParameter>, failure: CloudMLError | null = null): void {
    this._parameters = parameters;
    this._failure = failure;
    if (!this.isDisposed) {
      this.update();
    }
  }

  /** The kernel that the notebook has now, where it is on this machine, until another is chosen. */
  private _kernel(): string | null {
    const { kernel } = this._typed;
    const own = this._proposal.kernel;
    const isThere = own !== null && this._specs().some(spec => spec.name === own);
    return kernel !== undefined ? kernel : isThere ? own : null;
  }

  /** The kernelspecs of the machine; of this computer also those that Jupyter starts by itself. */
  private _specs(): ReadonlyArray<{ readonly name: string; readonly title: string }> {
    const { specs } = this._model.specs;
    const ours = machineSpecs(specs, this._machine);
    if (this._machine !== 'local') {
      return ours;
    }
    const others = Object.entries(specs?.kernelspecs ?? {}).flatMap(([name, spec]) =>
      spec && specMachine(spec) === null ? [{ name, title: spec.display_name }] : []
    );
    return [...ours, ...others];
  }

  private _machine: string;
  private _parameters: ReadonlyArray<IParameter> | null = null;
  private _failure: CloudMLError | null = null;
}
