import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { CloudMLError } from '../api';
import { errorText } from '../text';
import { IMachine } from '../types';
import { IClone, IRefs } from './types';

/** The form; its value is what the user has typed. */
export class CloneForm extends ReactWidget implements Dialog.IBodyWidget<IClone> {
  constructor(
    private readonly _machines: ReadonlyArray<IMachine>,
    path: string,
    private readonly _ask: (url: string) => Promise<IRefs>,
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
          onBlur={() => void this._lookUp()}
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
          list="jp-cloudml-refs"
          aria-describedby="jp-cloudml-ref-hint jp-cloudml-refs-told"
          onChange={event => this._set({ ref: event.target.value.trim() })}
        />
        <datalist id="jp-cloudml-refs">
          {this._refs?.branches.map(name => (
            <option key={`b${name}`} value={name} label={trans.__('branch')} />
          ))}
          {this._refs?.tags.map(name => (
            <option key={`t${name}`} value={name} label={trans.__('tag')} />
          ))}
          {this._refs?.commits.map(({ commit, title }) => (
            <option key={commit} value={commit} label={`${commit.slice(0, 7)} ${title}`} />
          ))}
        </datalist>
        <p id="jp-cloudml-refs-told" className="jp-cloudml-hint" role="status">
          {this._told}
        </p>
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

  /** Ask the URL that was typed what there is to choose from. */
  private async _lookUp(): Promise<void> {
    const trans = this._trans;
    const { url } = this._value;
    if (!url || url === this._asked) {
      return;
    }
    this._asked = url;
    this._refs = null;
    this._tell(trans.__('Looking for branches and tags…'));
    try {
      const refs = await this._ask(url);
      if (url === this._asked) {
        this._refs = refs;
        this._tell(
          trans.__('%1 branches and %2 tags to choose from', refs.branches.length, refs.tags.length)
        );
      }
    } catch (reason) {
      if (url === this._asked) {
        this._tell(errorText(CloudMLError.from(reason)));
      }
    }
  }

  private _tell(text: string): void {
    this._told = text;
    this.update();
  }

  private _set(change: Partial<IClone>): void {
    this._value = { ...this._value, ...change };
  }

  private _value: IClone;
  private _asked = '';
  private _refs: IRefs | null = null;
  private _told = '';
}
