import { Clipboard, Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect, ReactWidget, UseSignal, refreshIcon } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { CloudMLError } from '../api';
import { showFailure } from '../commands';
import { titledDialog } from '../dialogs';
import { OperationModel } from '../operation';
import { Bar } from '../panel/gauges';
import { CommandIDs, ICloudML, ICurrentNotebook } from '../tokens';
import { IMachine } from '../types';
import { askQuota } from './commands';
import { DatasetsModel, IFailure, aboutOf } from './model';
import { bytesText, datasetText, failureText, shortPath } from './text';
import { IDataset } from './types';

export interface IDatasetsProps {
  readonly datasets: DatasetsModel;
  readonly model: ICloudML;
  readonly notebook: ICurrentNotebook | null;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
}

type Act = readonly [text: string, name: string, act: () => void];

function Acts({ acts }: { readonly acts: ReadonlyArray<Act> }): JSX.Element {
  return (
    <div className="jp-cloudml-row-line jp-cloudml-acts">
      {acts.map(([text, name, act]) => (
        <button
          key={text}
          type="button"
          className="jp-cloudml-button"
          aria-label={name}
          title={name}
          onClick={act}
        >
          {text}
        </button>
      ))}
    </div>
  );
}

/** A sync that runs: what, how far, how fast, how long still. */
function Running({ sync, trans }: { sync: OperationModel; trans: TranslationBundle }): JSX.Element {
  const { source, target } = aboutOf(sync.value);
  const step = sync.value?.step;
  const text = step?.text ?? trans.__('The sync begins');
  const known = step && step.of === 100 && step.n > 0;
  const cancel = () => void sync.cancel().catch(showFailure);
  const line = React.useRef<HTMLLIElement>(null);
  // One that begins is what the user wants to see, wherever the list was scrolled to.
  React.useEffect(() => {
    line.current?.scrollIntoView({ block: 'nearest' });
  }, []);
  return (
    <li className="jp-cloudml-dataset" ref={line}>
      <p className="jp-cloudml-dataset-name" title={`${source} → ${target}`}>
        {source} → {target}
      </p>
      <progress max={100} value={known ? step.n : undefined} aria-label={source} />
      <p className="jp-cloudml-detail" role="status">
        {text}
      </p>
      <Acts acts={[[trans.__('Cancel'), trans.__('Cancel the sync of %1', source), cancel]]} />
    </li>
  );
}

function Failed(props: {
  readonly failure: IFailure;
  readonly datasets: DatasetsModel;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { datasets, failure, trans } = props;
  const { cause, remedy } = failureText(trans, failure.error);
  const name = trans.__('Dismiss what is said of %1', failure.source);
  return (
    <li className="jp-cloudml-dataset jp-cloudml-trouble">
      <p role="alert">{trans.__('%1 was not synced: %2 %3', failure.source, cause, remedy)}</p>
      <Acts acts={[[trans.__('Dismiss'), name, () => datasets.forget(failure)]]} />
    </li>
  );
}

/** One dataset of the machine. */
function Row({ dataset, props }: { dataset: IDataset; props: IDatasetsProps }): JSX.Element {
  const { datasets, model, trans } = props;
  const { folder, pinned, source, upward } = dataset;
  const label = model.machine(dataset.machine)?.label ?? dataset.machine;
  const act = (work: Promise<unknown>) => void work.catch(showFailure);
  const acts: Act[] = [
    [
      trans.__('Copy path'),
      trans.__('Copy the path of %1 on %2', source, label),
      () => Clipboard.copyToSystem(folder)
    ],
    pinned
      ? [
          trans.__('Unpin'),
          trans.__('Let the cache drop %1 when it is full', source),
          () => act(datasets.pin(folder, false))
        ]
      : [
          trans.__('Pin'),
          trans.__('Keep %1 in the cache', source),
          () => act(datasets.pin(folder, true))
        ]
  ];
  if (!pinned) {
    acts.push([
      trans.__('Drop…'),
      trans.__('Drop %1 from the cache', source),
      () => act(askEvict(dataset, label, props))
    ]);
  }
  return (
    <li className="jp-cloudml-dataset">
      <p className="jp-cloudml-dataset-name" title={`${source}\n${folder}`}>
        {upward ? trans.__('%1 ← results', source) : source}
      </p>
      <p className="jp-cloudml-detail">
        <span className="jp-cloudml-dataset-folder">{shortPath(folder)}</span>
        {datasetText(trans, dataset, model.now())}
      </p>
      <Acts acts={acts} />
    </li>
  );
}

async function askEvict(
  dataset: IDataset | null,
  label: string,
  { datasets, trans }: IDatasetsProps
): Promise<void> {
  const result = await titledDialog<unknown>({
    title: dataset
      ? trans.__('Drop %1 from the cache?', dataset.source)
      : trans.__('Empty the cache on %1?', label),
    body: trans.__(
      'Files in folders stay as they are. What is dropped is fetched from S3 again when another folder needs it. Pinned datasets stay.'
    ),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Drop') })],
    defaultButton: 0
  }).launch();
  if (result.button.accept) {
    await datasets.evict(dataset?.folder ?? '');
  }
}

function CacheLine(props: IDatasetsProps): JSX.Element | null {
  const { datasets, model, trans } = props;
  if (!datasets.value) {
    return null;
  }
  const { used, quota } = datasets.value.cache;
  const label = model.machine(datasets.machine)?.label ?? '';
  const change = async () => {
    const bytes = await askQuota(label, quota, trans);
    if (bytes !== null) {
      await datasets.setQuota(bytes);
    }
  };
  const acts: Act[] = [
    [
      trans.__('Quota…'),
      trans.__('Change how much the cache on %1 may hold', label),
      () => void change().catch(showFailure)
    ]
  ];
  if (used > 0) {
    acts.push([
      trans.__('Empty…'),
      trans.__('Empty the cache on %1', label),
      () => void askEvict(null, label, props).catch(showFailure)
    ]);
  }
  return (
    <div className="jp-cloudml-cache">
      <div className="jp-cloudml-gauges">
        <Bar
          label={trans.__('Cache')}
          percent={quota ? (100 * used) / quota : 0}
          text={trans.__('%1 of %2', bytesText(used), bytesText(quota))}
        />
      </div>
      <Acts acts={acts} />
    </div>
  );
}

/** Which machine it is about. */
function Choice(props: IDatasetsProps): JSX.Element {
  const { datasets, model, trans } = props;
  const machines = (model.machines ?? []).filter(
    each => each.state === 'running' || each.name === datasets.machine
  );
  return (
    <div className="jp-cloudml-row-line jp-cloudml-datasets-of">
      <HTMLSelect
        aria-label={trans.__('Machine')}
        value={datasets.machine ?? ''}
        onChange={event => datasets.setMachine(event.target.value)}
      >
        {machines.map(machine => (
          <option key={machine.name} value={machine.name}>
            {machine.label}
          </option>
        ))}
      </HTMLSelect>
      <button
        type="button"
        className="jp-cloudml-icon-button"
        aria-label={trans.__('Look at the datasets again')}
        title={trans.__('Look at the datasets again')}
        onClick={() => void datasets.refresh()}
      >
        <refreshIcon.react tag={null} />
      </button>
    </div>
  );
}

function Trouble({ error, props }: { error: CloudMLError; props: IDatasetsProps }): JSX.Element {
  const { datasets, trans } = props;
  const { cause, remedy } = failureText(trans, error);
  return (
    <div className="jp-cloudml-trouble">
      <p role="alert">
        {cause} {remedy}
      </p>
      <button type="button" className="jp-cloudml-button" onClick={() => void datasets.refresh()}>
        {trans.__('Try again')}
      </button>
    </div>
  );
}

function Empty({ commands, datasets, trans }: IDatasetsProps): JSX.Element {
  if (!datasets.value) {
    return (
      <p className="jp-cloudml-empty" role="status">
        {trans.__('Asking the machine for its datasets…')}
      </p>
    );
  }
  return (
    <div className="jp-cloudml-empty">
      <p>{trans.__('This machine has no datasets. Bring one from S3.')}</p>
      <button
        type="button"
        className="jp-cloudml-button"
        onClick={() => void commands.execute(CommandIDs.showBuckets)}
      >
        {trans.__('Browse S3 buckets')}
      </button>
    </div>
  );
}

function Datasets(props: IDatasetsProps): JSX.Element {
  const { datasets, model, trans } = props;
  const { error, failures, syncs, value } = datasets;
  const machine: IMachine | null = model.machine(datasets.machine);
  if (machine && machine.state !== 'running') {
    return (
      <p className="jp-cloudml-empty" role="status">
        {trans.__('%1 does not run: its datasets are shown when it does.', machine.label)}
      </p>
    );
  }
  const rows = value?.datasets ?? [];
  const count = rows.length + syncs.length + failures.length;
  return (
    <>
      {error && <Trouble error={error} props={props} />}
      {count > 0 ? (
        <ul
          className="jp-cloudml-rows"
          aria-label={trans.__('Datasets on %1', machine?.label ?? '')}
        >
          {syncs.map(sync => (
            <Running key={sync.id} sync={sync} trans={trans} />
          ))}
          {failures.map(failure => (
            <Failed key={failure.source} failure={failure} datasets={datasets} trans={trans} />
          ))}
          {rows.map(dataset => (
            <Row
              key={`${dataset.folder} ${dataset.source} ${dataset.upward}`}
              dataset={dataset}
              props={props}
            />
          ))}
        </ul>
      ) : (
        !error && <Empty {...props} />
      )}
      <CacheLine {...props} />
    </>
  );
}

/** The section with the datasets of one machine: of the notebook's until the user chooses another. */
export class DatasetsSection extends ReactWidget {
  constructor(private readonly _props: IDatasetsProps) {
    super();
    this.addClass('jp-cloudml-section');
    this.title.label = _props.trans.__('Datasets');
    _props.model.changed.connect(this._choose, this);
    _props.notebook?.changed.connect(this._choose, this);
    this._choose();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._props.datasets.dispose();
    }
    super.dispose();
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this._props.datasets.setVisible(true);
  }

  protected override onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this._props.datasets.setVisible(false);
  }

  protected override render(): JSX.Element {
    const { datasets, model } = this._props;
    return (
      <UseSignal signal={model.changed}>
        {() => (
          <UseSignal signal={datasets.changed}>
            {() => (
              <>
                <Choice {...this._props} />
                <Datasets {...this._props} />
              </>
            )}
          </UseSignal>
        )}
      </UseSignal>
    );
  }

  /** Follow the notebook in front to its machine; without one, be about any that runs. */
  private _choose(): void {
    const { datasets, model, notebook } = this._props;
    const place = notebook?.place?.value.machine ?? null;
    if (place !== this._followed && place !== null && model.machine(place)) {
      this._followed = place;
      datasets.setMachine(place);
    } else if (datasets.machine === null || !model.machine(datasets.machine)) {
      const running = (model.machines ?? []).filter(each => each.state === 'running');
      datasets.setMachine(running[0]?.name ?? null);
    }
  }

  private _followed: string | null = null;
}
