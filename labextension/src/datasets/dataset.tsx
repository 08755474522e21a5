import { Clipboard } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Act, Buttons } from '../buttons';
import { OperationModel } from '../operation';
import { askEvict } from './cache';
import { DatasetsModel, IFailure, aboutOf } from './model';
import { IDatasetsProps } from './section';
import { datasetText, failureText, shortPath } from './text';
import { IDataset } from './types';

/** A sync that runs: what, how far, how fast, how long still. */
export function Running({
  sync,
  trans
}: {
  sync: OperationModel;
  trans: TranslationBundle;
}): JSX.Element {
  const { source, target } = aboutOf(sync.value);
  const step = sync.value?.step;
  const text = step?.text ?? trans.__('The sync begins');
  const known = step && step.of === 100 && step.n > 0;
  const cancel = () => sync.cancel();
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
      <div className="jp-cloudml-row-line jp-cloudml-acts">
        <Buttons acts={[[trans.__('Cancel'), trans.__('Cancel the sync of %1', source), cancel]]} />
      </div>
    </li>
  );
}

/** A sync that has failed, and why. */
export function Failed(props: {
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
      <div className="jp-cloudml-row-line jp-cloudml-acts">
        <Buttons acts={[[trans.__('Dismiss'), name, () => datasets.forget(failure)]]} />
      </div>
    </li>
  );
}

/** One dataset of the machine. */
export function Row({ dataset, props }: { dataset: IDataset; props: IDatasetsProps }): JSX.Element {
  const { datasets, model, trans } = props;
  const { folder, pinned, source, upward } = dataset;
  const label = model.machine(dataset.machine)?.label ?? dataset.machine;
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
          () => datasets.pin(folder, false)
        ]
      : [
          trans.__('Pin'),
          trans.__('Keep %1 in the cache', source),
          () => datasets.pin(folder, true)
        ]
  ];
  if (!pinned) {
    acts.push([
      trans.__('Drop…'),
      trans.__('Drop %1 from the cache', source),
      () => askEvict(dataset, label, props)
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
      <div className="jp-cloudml-row-line jp-cloudml-acts">
        <Buttons acts={acts} />
      </div>
    </li>
  );
}
