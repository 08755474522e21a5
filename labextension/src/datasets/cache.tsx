import { Dialog } from '@jupyterlab/apputils';
import * as React from 'react';

import { Act, Buttons } from '../buttons';
import { titledDialog } from '../dialogs';
import { Bar } from '../panel/gauges';
import { askQuota } from './commands';
import { IDatasetsProps } from './section';
import { bytesText } from './text';
import { IDataset } from './types';

/** Ask whether a dataset, or all of them, may go from the cache. */
export async function askEvict(
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

/** How full the cache of the machine is. */
export function CacheLine(props: IDatasetsProps): JSX.Element | null {
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
    [trans.__('Quota…'), trans.__('Change how much the cache on %1 may hold', label), change]
  ];
  if (used > 0) {
    acts.push([
      trans.__('Empty…'),
      trans.__('Empty the cache on %1', label),
      () => askEvict(null, label, props)
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
      <div className="jp-cloudml-row-line jp-cloudml-acts">
        <Buttons acts={acts} />
      </div>
    </div>
  );
}
