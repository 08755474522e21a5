import { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect, ReactWidget, UseSignal, refreshIcon } from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { CloudMLError } from '../api';
import { CommandIDs, ICloudML, ICurrentNotebook } from '../tokens';
import { IMachine } from '../types';
import { CacheLine } from './cache';
import { Failed, Row, Running } from './dataset';
import { DatasetsModel } from './model';
import { failureText } from './text';

export interface IDatasetsProps {
  readonly datasets: DatasetsModel;
  readonly model: ICloudML;
  readonly notebook: ICurrentNotebook | null;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
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
