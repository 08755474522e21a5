import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CommandIDs, ICloudML, ICurrentNotebook } from '../tokens';
import { AddressForm } from './form';
import { AddMachineModel } from './model';
import { DoneStep, HostKeyStep, Log, ProgressStep, Refusal, Stage } from './parts';

interface IAddProps {
  readonly model: ICloudML;
  readonly notebook: ICurrentNotebook | null;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
}

/** Adds a machine over SSH, from its address to its first kernel. */
export class AddMachineWidget extends ReactWidget {
  constructor(private readonly _props: IAddProps) {
    super();
    this.addClass('jp-cloudml-page');
    this._add = new AddMachineModel(_props.model);
    void this._add.load();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._add.dispose();
    }
    super.dispose();
  }

  protected override render(): JSX.Element {
    const { trans } = this._props;
    return (
      <UseSignal signal={this._add.changed}>
        {() => (
          <div className="jp-cloudml-page-content">
            <h1>{trans.__('Add a machine over SSH')}</h1>
            {this._renderStages()}
            {this._renderPhase()}
          </div>
        )}
      </UseSignal>
    );
  }

  private _renderStages(): JSX.Element {
    const { trans } = this._props;
    const kind = this._add.phase.kind;
    const at = { form: 0, asking: 1, 'host-key': 1, progress: 2, failed: 2, done: 3 }[kind];
    const names = [trans.__('Address'), trans.__('Host key'), trans.__('Connection')];
    return (
      <ol className="jp-cloudml-stages" aria-label={trans.__('Steps')}>
        {names.map((name, i) => (
          <li key={name} aria-current={i === at ? 'step' : undefined} data-done={i < at}>
            {name}
          </li>
        ))}
      </ol>
    );
  }

  private _renderPhase(): JSX.Element {
    const { model, trans } = this._props;
    const add = this._add;
    const phase = add.phase;
    const cancel = () => void add.cancel();
    switch (phase.kind) {
      case 'form':
        return <AddressForm add={add} trans={trans} />;
      case 'host-key':
        return (
          <HostKeyStep
            hostKey={phase.key}
            trans={trans}
            onTrust={() => void add.trust()}
            onCancel={cancel}
          />
        );
      case 'asking':
      case 'progress':
        return (
          <ProgressStep
            key={phase.kind}
            operation={phase.kind === 'progress' ? phase.operation : null}
            host={add.data.host ?? ''}
            now={() => model.now()}
            trans={trans}
            onCancel={cancel}
          />
        );
      case 'failed':
        return (
          <Stage label={trans.__('Connection')}>
            <Refusal error={phase.error}>
              <Log lines={phase.log} trans={trans} />
              <button
                type="button"
                className="jp-mod-styled jp-mod-accept"
                onClick={() => add.back()}
              >
                {trans.__('Back to the form')}
              </button>
              <button type="button" className="jp-mod-styled" onClick={() => void add.submit()}>
                {trans.__('Try again')}
              </button>
            </Refusal>
          </Stage>
        );
      case 'done':
        return this._renderDone(phase.machine);
    }
  }

  private _renderDone(name: string): JSX.Element {
    const { commands, model, notebook, trans } = this._props;
    const run = (command: string) => {
      this._close();
      void commands.execute(command, { name });
    };
    return (
      <DoneStep machine={model.machine(name)} name={name} trans={trans}>
        {notebook?.panel && (
          <button
            type="button"
            className="jp-mod-styled jp-mod-accept"
            onClick={() => run(CommandIDs.chooseMachine)}
          >
            {trans.__('Use for this notebook')}
          </button>
        )}
        <button
          type="button"
          className="jp-mod-styled"
          onClick={() => run(CommandIDs.openNotebook)}
        >
          {trans.__('Open a notebook here')}
        </button>
        <button type="button" className="jp-mod-styled" onClick={() => this._close()}>
          {trans.__('Close')}
        </button>
      </DoneStep>
    );
  }

  /** Close the tab that holds this widget. */
  private _close(): void {
    (this.parent ?? this).close();
  }

  private readonly _add: AddMachineModel;
}
