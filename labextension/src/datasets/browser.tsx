import { TranslationBundle } from '@jupyterlab/translation';
import {
  ReactWidget,
  UseSignal,
  caretUpIcon,
  refreshIcon,
  settingsIcon
} from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { CommandIDs, ICloudML } from '../tokens';
import { addressOf, isSyncable, parentOf, parseAddress } from './address';
import { BucketModel } from './buckets';
import { EntryMenu } from './menu';
import { IPlaceRow } from './rows';
import { bytesText, failureText } from './text';
import { BucketTree } from './tree';
import { IService } from './types';

export interface IBrowserProps {
  readonly buckets: BucketModel;
  readonly model: ICloudML;
  readonly commands: CommandRegistry;
  readonly menu: EntryMenu;
  readonly trans: TranslationBundle;
}

/** Where to look: an address, and how the service is reached. */
function Where({ buckets, trans }: IBrowserProps): JSX.Element {
  const { place, service } = buckets;
  const shown = place ? addressOf(place) : '';
  const [text, setText] = React.useState(shown);
  const [wrong, setWrong] = React.useState(false);
  const [more, setMore] = React.useState(false);
  const [options, setOptions] = React.useState<IService>(service);
  React.useEffect(() => setText(shown), [shown]);
  React.useEffect(() => setOptions(service), [service]);

  const open = (event?: React.FormEvent) => {
    event?.preventDefault();
    const empty = /^(s3:\/*)?$/i.test(text.trim());
    const found = parseAddress(text);
    setWrong(!empty && !found);
    if (empty || found) {
      void buckets.open(found, cleaned(options));
    }
  };
  const up = place ? parentOf(place) : null;
  return (
    <form className="jp-cloudml-where" onSubmit={open}>
      <div className="jp-cloudml-row-line">
        <input
          className="jp-mod-styled"
          type="text"
          aria-label={trans.__('Bucket or prefix')}
          aria-invalid={wrong}
          placeholder="s3://bucket/prefix"
          spellCheck={false}
          list="jp-cloudml-recent"
          value={text}
          onChange={event => setText(event.target.value)}
        />
        <datalist id="jp-cloudml-recent">
          {buckets.recent.map(address => (
            <option key={address} value={address} />
          ))}
        </datalist>
        <button type="submit" className="jp-cloudml-button">
          {trans.__('Open')}
        </button>
        <IconButton
          icon={settingsIcon}
          label={trans.__('Profile, endpoint and region')}
          expanded={more}
          onClick={() => setMore(!more)}
        />
      </div>
      {more && <Options value={options} onChange={setOptions} buckets={buckets} trans={trans} />}
      {wrong && (
        <p className="jp-cloudml-hint" role="alert">
          {trans.__('Write it as s3://bucket/prefix, or leave it empty to list your buckets.')}
        </p>
      )}
      {place !== undefined && (
        <div className="jp-cloudml-row-line">
          <IconButton
            icon={caretUpIcon}
            label={up || !place ? trans.__('To the folder above') : trans.__('To the buckets')}
            disabled={!place}
            onClick={() => void buckets.open(up)}
          />
          <IconButton
            icon={refreshIcon}
            label={trans.__('Look again')}
            onClick={() => void buckets.refresh()}
          />
          <input
            className="jp-mod-styled"
            type="search"
            aria-label={trans.__('Filter the loaded names')}
            placeholder={trans.__('Filter the loaded names')}
            value={buckets.filter}
            onChange={event => buckets.setFilter(event.target.value)}
          />
        </div>
      )}
    </form>
  );
}

function IconButton(props: {
  readonly icon: typeof settingsIcon;
  readonly label: string;
  readonly expanded?: boolean;
  readonly disabled?: boolean;
  readonly onClick: () => void;
}): JSX.Element {
  return (
    <button
      type="button"
      className="jp-cloudml-icon-button"
      aria-label={props.label}
      aria-expanded={props.expanded}
      title={props.label}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <props.icon.react tag={null} />
    </button>
  );
}

/** Which of the user's profiles, and which service. */
function Options(props: {
  readonly value: IService;
  readonly onChange: (value: IService) => void;
  readonly buckets: BucketModel;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { value, onChange, buckets, trans } = props;
  const [profiles, setProfiles] = React.useState<ReadonlyArray<string>>([]);
  React.useEffect(() => {
    // They are only offered: without them a name can be typed.
    buckets.client.profiles().then(setProfiles, () => undefined);
  }, [buckets]);
  const fields: ReadonlyArray<[keyof IService, string, string]> = [
    ['profile', trans.__('Profile'), 'default'],
    ['endpoint_url', trans.__('Endpoint URL'), 'https://…'],
    ['region', trans.__('Region'), 'us-east-1']
  ];
  return (
    <div className="jp-cloudml-service">
      {fields.map(([name, label, placeholder]) => (
        <label key={name}>
          <span>{label}</span>
          <input
            className="jp-mod-styled"
            type="text"
            spellCheck={false}
            placeholder={placeholder}
            list={name === 'profile' ? 'jp-cloudml-profiles' : undefined}
            value={value[name] ?? ''}
            onChange={event => onChange({ ...value, [name]: event.target.value })}
          />
        </label>
      ))}
      <datalist id="jp-cloudml-profiles">
        {profiles.map(name => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <p className="jp-cloudml-hint">
        {trans.__(
          'What is empty comes from the variables and ~/.aws of the computer that runs Jupyter. Keys stay there.'
        )}
      </p>
    </div>
  );
}

/** Without what was left empty. */
function cleaned(service: IService): IService {
  return Object.fromEntries(
    Object.entries(service as Record<string, string>)
      .map(([name, value]) => [name, value.trim()])
      .filter(([, value]) => value)
  );
}

function Names(props: IBrowserProps): JSX.Element {
  const { buckets, commands, menu, model, trans } = props;
  const { error, loading, place, rows } = buckets;
  if (place === undefined) {
    return (
      <div className="jp-cloudml-empty">
        <p>{trans.__('Look into a bucket, and bring data from there to a machine.')}</p>
        <button type="button" className="jp-cloudml-button" onClick={() => void buckets.open(null)}>
          {trans.__('List my buckets')}
        </button>
      </div>
    );
  }
  if (error) {
    const { cause, remedy } = failureText(trans, error);
    return (
      <div className="jp-cloudml-trouble">
        <p role="alert">
          {cause} {remedy}
        </p>
        <button type="button" className="jp-cloudml-button" onClick={() => void buckets.refresh()}>
          {trans.__('Try again')}
        </button>
      </div>
    );
  }
  if (rows.length === 0) {
    const text = buckets.filter
      ? trans.__('No loaded name has that in it.')
      : trans.__('There are no buckets here.');
    return (
      <p className="jp-cloudml-empty" role="status">
        {loading ? trans.__('Loading…') : text}
      </p>
    );
  }
  const name = place ? addressOf(place) : trans.__('Buckets');
  return (
    <BucketTree
      model={buckets}
      label={trans.__('Contents of %1', name)}
      now={() => model.now()}
      trans={trans}
      onPrimary={row => void commands.execute(CommandIDs.syncDataset, argsOf(row))}
      onMenu={(row, x, y) => menu.open(row, x, y)}
    />
  );
}

/** What the commands about data take. */
export function argsOf(row: IPlaceRow): { source: string } {
  return { source: addressOf(row.place) };
}

/** How much there is, or what the keyboard is on and what can be done with it. */
function Chosen({ buckets, commands, trans }: IBrowserProps): JSX.Element | null {
  const { chosen, loaded, place } = buckets;
  if (place === undefined || buckets.error || buckets.loading) {
    return null;
  }
  const count = loaded.count.toLocaleString('en-US');
  const text = loaded.more
    ? trans.__('%1 names loaded, more follow', count)
    : loaded.count === 1
      ? trans.__('1 name')
      : trans.__('%1 names', count);
  const acts: ReadonlyArray<[string, string, string]> = [
    [CommandIDs.syncDataset, trans.__('Sync…'), trans.__('Sync to a machine…')],
    [CommandIDs.insertDataset, trans.__('Insert'), trans.__('Insert into the notebook')],
    [CommandIDs.copyDataAddress, trans.__('Copy path'), trans.__('Copy the s3:// path')]
  ];
  const size = chosen?.kind === 'object' && chosen.entry ? bytesText(chosen.entry.size) : '';
  return (
    <div className="jp-cloudml-chosen">
      <p className="jp-cloudml-detail" role="status">
        {chosen ? [chosen.name, size].filter(Boolean).join(' · ') : text}
      </p>
      {chosen && chosen.entry && !isSyncable(chosen.entry) && (
        <p className="jp-cloudml-hint">{trans.__('No folder can hold this name.')}</p>
      )}
      {chosen && (!chosen.entry || isSyncable(chosen.entry)) && (
        <div className="jp-cloudml-row-line">
          {acts.map(([command, label, title]) => (
            <button
              key={command}
              type="button"
              className="jp-cloudml-button"
              title={title}
              aria-label={trans.__('%1: %2', title, chosen.name)}
              disabled={!commands.isEnabled(command, argsOf(chosen))}
              onClick={() => void commands.execute(command, argsOf(chosen))}
            >
              {label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

/** The section in which buckets are looked into. */
export class BucketSection extends ReactWidget {
  constructor(private readonly _props: IBrowserProps) {
    super();
    this.addClass('jp-cloudml-section');
    this.addClass('jp-cloudml-buckets');
    this.title.label = _props.trans.__('S3 buckets');
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    void this._props.buckets.restore();
  }

  protected override render(): JSX.Element {
    return (
      <UseSignal signal={this._props.buckets.changed}>
        {() => (
          <>
            <Where {...this._props} />
            <Names {...this._props} />
            <Chosen {...this._props} />
          </>
        )}
      </UseSignal>
    );
  }
}
