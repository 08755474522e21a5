import { Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { Refusal } from '../add/parts';
import { showFailure } from '../commands';
import { titledDialog } from '../dialogs';
import { machineSpecs } from '../specs';
import { CommandIDs, ICloudML, ICurrentNotebook } from '../tokens';
import { IEnvironment, IMachine } from '../types';
import { showLog } from './build';
import { fileText } from './choice';
import { EnvironmentsModel } from './model';
import { EnvironmentRow, IRowActs, nameOf } from './row';

export interface IPageProps {
  readonly machine: IMachine;
  readonly model: ICloudML;
  readonly notebook: ICurrentNotebook | null;
  readonly commands: CommandRegistry;
  /** Have a notebook run with this kernelspec. */
  readonly use: (spec: string) => void;
  readonly trans: TranslationBundle;
}

/** The environments of a machine: what there is, what it takes, and what can be done with it. */
export class EnvironmentsPage extends ReactWidget {
  constructor(private readonly _props: IPageProps) {
    super();
    this.addClass('jp-cloudml-page');
    this._environments = new EnvironmentsModel(_props.machine.name, _props.model);
    _props.notebook?.changed.connect(this._onNotebook, this);
    this.refresh();
  }

  /** Ask the machine again. */
  refresh(): void {
    void this._environments.refresh();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._props.notebook?.changed.disconnect(this._onNotebook, this);
      this._environments.dispose();
    }
    super.dispose();
  }

  protected override render(): JSX.Element {
    const { machine, model, trans } = this._props;
    return (
      <UseSignal signal={this._environments.changed}>
        {() => {
          const { error, failed, loading, rows } = this._environments;
          return (
            <div className="jp-cloudml-page-content">
              <h1>{trans.__('Environments on %1', machine.label)}</h1>
              {error && <Refusal error={error} />}
              {rows && rows.length > 0 && (
                <ul className="jp-cloudml-environments" aria-label={trans.__('Environments')}>
                  {rows.map(row => (
                    <EnvironmentRow
                      key={row.key}
                      row={row}
                      drift={this._environments.drift(row.key)}
                      acts={this._acts(row)}
                      now={model.now()}
                      trans={trans}
                    />
                  ))}
                </ul>
              )}
              <p className="jp-cloudml-hint" role="status">
                {this._words(rows, loading)}
              </p>
              {failed.length > 0 && this._renderFailed()}
              <div className="jp-cloudml-buttons">
                <button
                  type="button"
                  className="jp-mod-styled jp-mod-accept"
                  onClick={() => void this._build()}
                >
                  {trans.__('Build…')}
                </button>
                <button type="button" className="jp-mod-styled" onClick={() => this.refresh()}>
                  {trans.__('Refresh')}
                </button>
              </div>
            </div>
          );
        }}
      </UseSignal>
    );
  }

  private _words(rows: ReadonlyArray<IEnvironment> | null, loading: boolean): string {
    const { trans } = this._props;
    if (!rows) {
      return loading ? trans.__('Asking the machine…') : '';
    }
    return rows.length === 0
      ? trans.__('None yet. One is built once, and is a kernel of the machine from then on.')
      : '';
  }

  private _renderFailed(): JSX.Element {
    const { trans } = this._props;
    return (
      <>
        <h2>{trans.__('Builds that failed')}</h2>
        <ul className="jp-cloudml-environments" aria-label={trans.__('Builds that failed')}>
          {this._environments.failed.map(each => (
            <li key={each.id} className="jp-cloudml-environment">
              <div className="jp-cloudml-row-line">
                <span className="jp-cloudml-detail">{each.error?.message}</span>
                <button
                  type="button"
                  className="jp-cloudml-button"
                  onClick={() => showLog(trans.__('Build that failed'), each.log, trans)}
                >
                  {trans.__('Show log')}
                </button>
              </div>
            </li>
          ))}
        </ul>
      </>
    );
  }

  private _acts(row: IEnvironment): IRowActs {
    const { machine, model, notebook, use } = this._props;
    const spec = machineSpecs(model.specs.specs, machine.name).find(
      each => model.specs.specs?.kernelspecs[each.name]?.argv[0] === row.python_path
    );
    const now = notebook?.panel?.sessionContext.session?.kernel?.name;
    const name = row.names[0];
    const isOwn = machine.python === row.python_path;
    return {
      use: spec && notebook?.panel && spec.name !== now ? () => use(spec.name) : null,
      check: () => void this._environments.check(row),
      log: name ? () => void this._log(name) : null,
      remove: row.in_use || isOwn ? null : () => void this._remove(row)
    };
  }

  private async _build(): Promise<void> {
    const { commands, machine } = this._props;
    await commands.execute(CommandIDs.buildEnvironment, { name: machine.name });
    this.refresh();
  }

  private async _log(name: string): Promise<void> {
    const { machine, model, trans } = this._props;
    try {
      const text = await model.client.environmentLog(machine.name, name);
      const lines = text ? [text] : [trans.__('It was not built from this computer.')];
      showLog(trans.__('Build log of %1', name), lines, trans);
    } catch (reason) {
      showFailure(reason);
    }
  }

  private async _remove(row: IEnvironment): Promise<void> {
    const { machine, trans } = this._props;
    const name = nameOf(row, trans);
    const result = await titledDialog<unknown>({
      title: trans.__('Remove %1 from %2?', name, machine.label),
      body: trans.__(
        'Its kernel leaves the lists. It can be built again from %1.',
        fileText(row.source)
      ),
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Remove') })],
      defaultButton: 0
    }).launch();
    if (result.button.accept) {
      await this._environments.remove(row.key).catch(showFailure);
    }
  }

  private _onNotebook(): void {
    this.update();
  }

  private readonly _environments: EnvironmentsModel;
}
