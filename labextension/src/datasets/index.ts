import { ICommandPalette } from '@jupyterlab/apputils';
import { IStateDB } from '@jupyterlab/statedb';
import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { CloudMLPanel } from '../panel/panel';
import { CommandIDs, ICloudML, ICurrentNotebook } from '../tokens';
import { BucketSection } from './browser';
import { BucketModel } from './buckets';
import { DataClient } from './client';
import { addDataCommands } from './commands';
import { EntryMenu } from './menu';
import { DatasetsModel } from './model';
import { DatasetsSection } from './section';

/** What the sections about data are made of. */
export interface IDataOptions {
  readonly model: ICloudML;
  readonly notebook: ICurrentNotebook | null;
  readonly commands: CommandRegistry;
  readonly state: IStateDB | null;
  readonly palette: ICommandPalette | null;
  readonly trans: TranslationBundle;
}

/** Add the datasets of machines and what lies in buckets to the panel, folded until somebody wants them. */
export function addData(panel: CloudMLPanel, options: IDataOptions): void {
  const { commands, model, notebook, palette, state, trans } = options;
  const client = new DataClient(model.client);
  const buckets = new BucketModel(client, state);
  const datasets = new DatasetsModel(model, client);
  const menu = new EntryMenu(commands);
  const sections = {
    datasets: new DatasetsSection({ datasets, model, notebook, commands, trans }),
    buckets: new BucketSection({ buckets, model, commands, menu, trans })
  };
  panel.addSection(sections.datasets, 4, true);
  panel.addSection(sections.buckets, 5, true);
  panel.disposed.connect(() => {
    menu.dispose();
    buckets.dispose();
  });
  const show = (section: keyof typeof sections) => {
    void commands.execute(CommandIDs.showPanel);
    panel.unfold(sections[section]);
  };
  addDataCommands({ model, buckets, datasets, notebook, commands, palette, trans, show });
}
