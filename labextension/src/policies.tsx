import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { titledDialog } from './dialogs';
import { duration } from './text';
import { ICloudML } from './tokens';
import { IMachine, MachineChange } from './types';

const HOUR = 3600;
const IDLE_TIMES = [HOUR / 4, HOUR / 2, HOUR, 2 * HOUR, 8 * HOUR, 24 * HOUR];
const MAX_PREWARM = 4;

/** Let the user change what a machine is called, when its idle kernels end, and how many are kept ready. */
export async function askPolicies(
  machine: IMachine,
  model: ICloudML,
  trans: TranslationBundle
): Promise<void> {
  const dialog = titledDialog<MachineChange>({
    title: trans.__('Settings of %1', machine.label),
    body: new PoliciesForm(machine, trans),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Save') })],
    focusNodeSelector: 'input'
  });
  dialog.addClass('jp-cloudml-dialog');
  const result = await dialog.launch();
  if (result.button.accept && result.value) {
    await model.client.changeMachine(machine.name, result.value);
    await model.refresh();
  }
}

/** The form; its value is what the user has chosen. */
class PoliciesForm extends ReactWidget implements Dialog.IBodyWidget<MachineChange> {
  constructor(
    machine: IMachine,
    private readonly trans: TranslationBundle
  ) {
    super();
    const { label, cull_idle_s, prewarm } = machine;
    this._value = { label, cull_idle_s, prewarm };
    this.addClass('jp-cloudml-policies');
  }

  getValue(): MachineChange {
    return this._value;
  }

  protected override render(): JSX.Element {
    const { trans } = this;
    const { label, cull_idle_s, prewarm } = this._value;
    const times = new Set([...IDLE_TIMES, ...(cull_idle_s ? [cull_idle_s] : [])]);
    return (
      <>
        <label htmlFor="jp-cloudml-label">{trans.__('Name shown')}</label>
        <input
          id="jp-cloudml-label"
          className="jp-mod-styled"
          type="text"
          maxLength={100}
          defaultValue={label}
          onChange={event => this._set({ label: event.target.value.trim() || label })}
        />
        <label htmlFor="jp-cloudml-idle">{trans.__('End idle kernels after')}</label>
        <HTMLSelect
          id="jp-cloudml-idle"
          defaultValue={cull_idle_s ?? ''}
          aria-describedby="jp-cloudml-idle-hint"
          onChange={event => this._set({ cull_idle_s: Number(event.target.value) || null })}
        >
          <option value="">{trans.__('never')}</option>
          {[...times]
            .sort((a, b) => a - b)
            .map(seconds => (
              <option key={seconds} value={seconds}>
                {seconds % HOUR
                  ? duration(trans, seconds * 1000)
                  : trans.__('%1 h', seconds / HOUR)}
              </option>
            ))}
        </HTMLSelect>
        <p id="jp-cloudml-idle-hint" className="jp-cloudml-hint">
          {trans.__('Their outputs stay; their variables are lost.')}
        </p>
        <label htmlFor="jp-cloudml-prewarm">{trans.__('Kernels kept ready')}</label>
        <HTMLSelect
          id="jp-cloudml-prewarm"
          defaultValue={prewarm}
          aria-describedby="jp-cloudml-prewarm-hint"
          onChange={event => this._set({ prewarm: Number(event.target.value) })}
        >
          {Array.from({ length: MAX_PREWARM + 1 }, (_, count) => (
            <option key={count} value={count}>
              {count}
            </option>
          ))}
        </HTMLSelect>
        <p id="jp-cloudml-prewarm-hint" className="jp-cloudml-hint">
          {trans.__('A notebook that starts takes one at once. Each needs memory.')}
        </p>
      </>
    );
  }

  private _set(change: Partial<MachineChange>): void {
    this._value = { ...this._value, ...change };
  }

  private _value: MachineChange;
}
