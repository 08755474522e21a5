import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { titledDialog } from '../dialogs';
import { IMachine } from '../types';
import { addressOf, asFolder, folderFor, parseAddress } from './address';
import { DataClient } from './client';
import { contentText } from './text';
import { IPlace, IService, ISync } from './types';

/** Objects after which it is not counted any further. */
const ENOUGH = 200_000;

/** What the dialog begins with. */
export interface IProposal {
  readonly source: string;
  /** The bytes of what is one object; null for a folder. */
  readonly bytes: number | null;
  readonly service: IService;
  readonly machines: ReadonlyArray<IMachine>;
  /** The machine that is proposed, where it is among them. */
  readonly machine: string | null;
  readonly client: DataClient;
}

/** What the user has chosen. */
export interface IChosenSync {
  readonly machine: string;
  readonly sync: ISync;
}

/** Ask to which folder of which machine something in S3 is to be synced; null where it is not. */
export async function askSync(
  proposal: IProposal,
  trans: TranslationBundle
): Promise<IChosenSync | null> {
  const form = new SyncForm(proposal, trans);
  const dialog = titledDialog<IChosenSync | null>({
    title: trans.__('Sync to a machine'),
    body: form,
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Sync') })],
    focusNodeSelector: proposal.source ? 'select' : 'input'
  });
  dialog.addClass('jp-cloudml-dialog');
  const result = await dialog.launch();
  return result.button.accept ? result.value : null;
}

/** The form; its value is what the user has chosen. */
class SyncForm extends ReactWidget implements Dialog.IBodyWidget<IChosenSync | null> {
  constructor(
    private readonly _proposal: IProposal,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-cloudml-policies');
    const { machine, machines, source } = _proposal;
    const known = machines.some(each => each.name === machine);
    this._source = source;
    this._machine = (known ? machine : machines[0]?.name) ?? '';
    this._folder = this._usual();
  }

  getValue(): IChosenSync | null {
    const place = parseAddress(this._source);
    if (!place || !this._folder) {
      return null;
    }
    const sync = { ...this._proposal.service, source: addressOf(place), target: this._folder };
    return { machine: this._machine, sync };
  }

  protected override render(): JSX.Element {
    const trans = this._trans;
    const { bytes, client, machines, service, source } = this._proposal;
    const place = parseAddress(source);
    return (
      <>
        <label htmlFor="jp-cloudml-sync-source">{trans.__('From')}</label>
        <input
          id="jp-cloudml-sync-source"
          className="jp-mod-styled"
          type="text"
          readOnly={Boolean(source)}
          placeholder="s3://bucket/prefix"
          aria-describedby="jp-cloudml-sync-size"
          defaultValue={source}
          onChange={event => {
            this._source = event.target.value;
            this._follow();
          }}
        />
        <p id="jp-cloudml-sync-size" className="jp-cloudml-hint" role="status">
          {place && (
            <Size
              client={client}
              service={service}
              place={bytes === null ? asFolder(place) : place}
              bytes={bytes}
              trans={trans}
              onFolder={folder => this._propose(folder)}
            />
          )}
        </p>
        <label htmlFor="jp-cloudml-sync-machine">{trans.__('Machine')}</label>
        <HTMLSelect
          id="jp-cloudml-sync-machine"
          defaultValue={this._machine}
          onChange={event => {
            this._machine = event.target.value;
          }}
        >
          {machines.map(machine => (
            <option key={machine.name} value={machine.name}>
              {machine.label}
            </option>
          ))}
        </HTMLSelect>
        <label htmlFor="jp-cloudml-sync-folder">{trans.__('Folder there')}</label>
        <input
          id="jp-cloudml-sync-folder"
          className="jp-mod-styled"
          type="text"
          aria-describedby="jp-cloudml-sync-hint"
          value={this._folder}
          onChange={event => {
            this._folder = event.target.value;
            this._typed = true;
            this.update();
          }}
        />
        <p id="jp-cloudml-sync-hint" className="jp-cloudml-hint">
          {trans.__(
            'Relative to your home there. What has changed is fetched; other files in the folder stay. The bytes go to the machine directly, and no key does.'
          )}
        </p>
      </>
    );
  }

  private _usual(): string {
    const place = parseAddress(this._source);
    return place ? folderFor(place, this._proposal.bytes !== null) : '';
  }

  /** Have it where a notebook would, so that both share one folder. */
  private _propose(folder: string): void {
    if (!this._typed) {
      this._folder = folder;
      this.update();
    }
  }

  private _follow(): void {
    if (!this._typed) {
      this._folder = this._usual();
      this.update();
    }
  }

  private _source: string;
  private _machine: string;
  private _folder: string;
  private _typed = false;
}

/** How much lies below a prefix, counted while somebody looks. */
function Size(props: {
  readonly client: DataClient;
  readonly service: IService;
  readonly place: IPlace;
  readonly trans: TranslationBundle;
  readonly bytes: number | null;
  readonly onFolder: (folder: string) => void;
}): JSX.Element {
  const { client, service, place, trans } = props;
  const [counted, setCounted] = React.useState({ files: 0, bytes: 0, isAll: false });
  const [failed, setFailed] = React.useState(false);
  React.useEffect(() => {
    let isOpen = true;
    const count = async () => {
      let after: string | null = null;
      let [files, bytes] = [0, 0];
      do {
        const part = await client.measure(service, place, after);
        files += part.files;
        bytes += part.bytes;
        after = part.after;
        if (isOpen && part.folder !== null) {
          props.onFolder(part.folder);
        }
        if (isOpen) {
          setCounted({ files, bytes, isAll: after === null });
        }
      } while (isOpen && props.bytes === null && after !== null && files < ENOUGH);
    };
    count().catch(() => isOpen && setFailed(true));
    return () => {
      isOpen = false;
    };
  }, []);
  if (props.bytes !== null) {
    return <>{contentText(trans, 1, props.bytes)}</>;
  }
  if (failed) {
    return <>{trans.__('How much it is cannot be told now.')}</>;
  }
  const text = contentText(trans, counted.files, counted.bytes);
  return <>{counted.isAll ? text : trans.__('%1 so far…', text)}</>;
}
