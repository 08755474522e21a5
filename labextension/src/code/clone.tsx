import { Dialog, Notification, ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { CloudMLError } from '../api';
import { titledDialog } from '../dialogs';
import { LOCAL } from '../specs';
import { errorText } from '../text';
import { ICloudML } from '../tokens';
import { IMachine } from '../types';
import { CodeClient } from './client';
import { askDecision } from './large';
import { ICloned, IClone, isQuestion } from './types';

/** Ask for a Git URL, a branch, tag or commit, and a machine; clone here, below `path`, and send it there. */
export async function cloneCode(
  path: string,
  model: ICloudML,
  trans: TranslationBundle
): Promise<void> {
  const machines = (model.machines ?? []).filter(machine => machine.name !== LOCAL);
  if (machines.length === 0) {
    Notification.info(trans.__('Add a machine first: code is cloned for one.'), {
      autoClose: 4000
    });
    return;
  }
  const dialog = titledDialog<IClone>({
    title: trans.__('Clone a Git repository'),
    body: new CloneForm(machines, path, trans),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Clone') })],
    focusNodeSelector: 'input'
  });
  dialog.addClass('jp-cloudml-dialog');
  const result = await dialog.launch();
  if (result.button.accept && result.value?.url) {
    await clone(result.value, model, trans);
  }
}

async function clone(what: IClone, model: ICloudML, trans: TranslationBundle): Promise<void> {
  const label = model.machine(what.machine)?.label ?? what.machine;
  const doing = trans.__('Cloning to %1', label);
  let giveUp = () => undefined as void;
  const actions = [{ label: trans.__('Cancel'), callback: () => giveUp() }];
  const notice = Notification.emit(doing, 'in-progress', { autoClose: false, actions });
  try {
    const done = await run(what, model, cancel => (giveUp = cancel));
    const commit = `${done.branch ?? 'HEAD'}@${(done.base_commit ?? '').slice(0, 7)}`;
    Notification.dismiss(notice);
    Notification.success(trans.__('%1 (%2) is here and on %3', done.name, commit, label), {
      autoClose: 6000
    });
  } catch (reason) {
    const error = CloudMLError.from(reason);
    Notification.dismiss(notice);
    if (isQuestion(error)) {
      const decision = await askDecision(error, trans);
      if (decision) {
        await clone({ ...what, ...decision }, model, trans);
      }
    } else if (error.code !== 'cancelled') {
      const message = trans.__('It was not cloned: %1', errorText(error));
      Notification.error(message, { autoClose: false });
    }
  }
}

async function run(
  what: IClone,
  model: ICloudML,
  onBegun: (cancel: () => void) => void
): Promise<ICloned> {
  const { id } = await new CodeClient(model.client).clone(what);
  const operation = model.watch(id);
  onBegun(() => void operation.cancel().catch(() => undefined));
  try {
    return (await operation.ended).result as ICloned;
  } finally {
    operation.dispose();
  }
}

/** The form; its value is what the user has typed. */
class CloneForm extends ReactWidget implements Dialog.IBodyWidget<IClone> {
  constructor(
    private readonly _machines: ReadonlyArray<IMachine>,
    path: string,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-cloudml-policies');
    this._value = { url: '', machine: _machines[0]?.name ?? '', path };
  }

  getValue(): IClone {
    return this._value;
  }

  protected override render(): JSX.Element {
    const trans = this._trans;
    return (
      <>
        <label htmlFor="jp-cloudml-url">{trans.__('Git URL')}</label>
        <input
          id="jp-cloudml-url"
          className="jp-mod-styled"
          type="text"
          aria-describedby="jp-cloudml-url-hint"
          onChange={event => this._set({ url: event.target.value.trim() })}
        />
        <p id="jp-cloudml-url-hint" className="jp-cloudml-hint">
          {trans.__(
            'Cloned on the computer of this server, with its credentials: none goes to the machine.'
          )}
        </p>
        <label htmlFor="jp-cloudml-ref">{trans.__('Branch, tag or commit')}</label>
        <input
          id="jp-cloudml-ref"
          className="jp-mod-styled"
          type="text"
          aria-describedby="jp-cloudml-ref-hint"
          onChange={event => this._set({ ref: event.target.value.trim() })}
        />
        <p id="jp-cloudml-ref-hint" className="jp-cloudml-hint">
          {trans.__(
            'Empty takes the branch of the remote. A clone that is here already changes to it.'
          )}
        </p>
        <label htmlFor="jp-cloudml-clone-machine">{trans.__('Machine')}</label>
        <HTMLSelect
          id="jp-cloudml-clone-machine"
          defaultValue={this._value.machine}
          onChange={event => this._set({ machine: event.target.value })}
        >
          {this._machines.map(machine => (
            <option key={machine.name} value={machine.name}>
              {machine.label}
            </option>
          ))}
        </HTMLSelect>
      </>
    );
  }

  private _set(change: Partial<IClone>): void {
    this._value = { ...this._value, ...change };
  }

  private _value: IClone;
}
