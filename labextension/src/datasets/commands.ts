import { Clipboard, ICommandPalette, InputDialog, Notification } from '@jupyterlab/apputils';
import { NotebookActions } from '@jupyterlab/notebook';
import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { applies } from '../actions';
import { CloudMLError } from '../api';
import { MACHINE_ARGS, chosenMachine, showFailure } from '../commands';
import { errorText } from '../text';
import { CommandIDs, ICloudML, ICurrentNotebook } from '../tokens';
import { addressOf, cellFor, parseAddress } from './address';
import { BucketModel } from './buckets';
import { DatasetsModel } from './model';
import { askSync } from './sync';
import { syncedText } from './text';

/** What the commands about data act on. */
export interface IDataParts {
  readonly model: ICloudML;
  readonly buckets: BucketModel;
  readonly datasets: DatasetsModel;
  readonly notebook: ICurrentNotebook | null;
  readonly commands: CommandRegistry;
  readonly palette: ICommandPalette | null;
  readonly trans: TranslationBundle;
  /** Bring a section of the panel into sight. */
  readonly show: (section: 'buckets' | 'datasets') => void;
}

const SOURCE_ARGS = {
  type: 'object',
  properties: {
    source: { type: 'string', description: 'An address as s3://bucket/prefix' }
  }
};

/** Add the commands about data. Those about an address take `{source}`. */
export function addDataCommands(parts: IDataParts): void {
  const { buckets, commands, datasets, model, palette, show, trans } = parts;
  const category = trans.__('CloudML');

  commands.addCommand(CommandIDs.showBuckets, {
    label: args =>
      args['source'] ? trans.__('Show this folder alone') : trans.__('Browse S3 Buckets'),
    describedBy: { args: SOURCE_ARGS },
    execute: async args => {
      show('buckets');
      const place = parseAddress(sourceOf(args));
      if (place) {
        await buckets.open(place);
      }
    }
  });
  palette?.addItem({ command: CommandIDs.showBuckets, category });

  commands.addCommand(CommandIDs.showDatasets, {
    label: args => (args['name'] ? trans.__('Datasets') : trans.__('Show Datasets of a Machine…')),
    describedBy: { args: MACHINE_ARGS },
    isVisible: args => {
      const machine = typeof args['name'] === 'string' ? model.machine(args['name']) : null;
      return !args['name'] || (machine !== null && applies(CommandIDs.showDatasets, machine));
    },
    execute: async args => {
      const machine = await chosenMachine(CommandIDs.showDatasets, args, model, trans);
      if (machine) {
        datasets.setMachine(machine.name);
        show('datasets');
      }
    }
  });
  palette?.addItem({ command: CommandIDs.showDatasets, category });

  commands.addCommand(CommandIDs.syncDataset, {
    label: args =>
      args['source'] ? trans.__('Sync to a machine…') : trans.__('Sync Data to a Machine…'),
    describedBy: { args: SOURCE_ARGS },
    execute: args => sync(sourceOf(args), parts).catch(showFailure)
  });
  palette?.addItem({ command: CommandIDs.syncDataset, category });

  addCopies(parts);
  addInsert(parts);
}

function addCopies({ commands, datasets, trans }: IDataParts): void {
  commands.addCommand(CommandIDs.copyDataAddress, {
    label: trans.__('Copy path'),
    caption: trans.__('Copy the s3:// path'),
    describedBy: { args: SOURCE_ARGS },
    execute: args => Clipboard.copyToSystem(sourceOf(args))
  });
  commands.addCommand(CommandIDs.copyDataPath, {
    label: trans.__('Copy path on machine'),
    caption: trans.__('Copy where the machine has it'),
    describedBy: { args: SOURCE_ARGS },
    isEnabled: args => datasets.pathOf(sourceOf(args)) !== null,
    execute: args => Clipboard.copyToSystem(datasets.pathOf(sourceOf(args)) ?? '')
  });
}

function addInsert({ buckets, commands, notebook, trans }: IDataParts): void {
  commands.addCommand(CommandIDs.insertDataset, {
    label: trans.__('Insert into notebook'),
    caption: trans.__('Insert a cell that brings it to the kernel and gives its path'),
    describedBy: { args: SOURCE_ARGS },
    isEnabled: () => Boolean(notebook?.panel),
    execute: args => {
      const cells = notebook?.panel?.content;
      if (!cells) {
        return;
      }
      const before = cells.activeCell?.model;
      if (before?.type !== 'code' || before.sharedModel.getSource().trim()) {
        NotebookActions.insertBelow(cells);
      }
      cells.activeCell?.model.sharedModel.setSource(cellFor(sourceOf(args), buckets.service));
      cells.activate();
    }
  });
  const changed = () => commands.notifyCommandChanged(CommandIDs.insertDataset);
  notebook?.changed.connect(changed);
}

function sourceOf(args: ReadonlyPartialJSONObject): string {
  return typeof args['source'] === 'string' ? args['source'] : '';
}

/** Ask where to, and sync: the section shows how far it is, a notification how it has ended. */
async function sync(source: string, parts: IDataParts): Promise<void> {
  const { buckets, datasets, model, notebook, show, trans } = parts;
  const machines = (model.machines ?? []).filter(machine => machine.state === 'running');
  if (machines.length === 0) {
    Notification.info(trans.__('No machine runs: connect to one first.'), { autoClose: 4000 });
    return;
  }
  const { chosen } = buckets;
  const machine = notebook?.place?.value.machine ?? datasets.machine;
  const isObject = chosen?.kind === 'object' && addressOf(chosen.place) === source;
  const bytes = isObject ? (chosen.entry?.size ?? 0) : null;
  const { client, service } = buckets;
  const wanted = await askSync({ source, bytes, service, machines, machine, client }, trans);
  if (!wanted) {
    return;
  }
  datasets.setMachine(wanted.machine);
  show('datasets');
  const label = model.machine(wanted.machine)?.label ?? wanted.machine;
  try {
    const done = await datasets.sync(wanted.machine, wanted.sync);
    const text = trans.__('%1 on %2: %3', done.source, label, syncedText(trans, done));
    const copy = {
      label: trans.__('Copy path'),
      callback: () => Clipboard.copyToSystem(done.folder)
    };
    const emit = done.failed_count ? Notification.warning : Notification.success;
    emit(text, { autoClose: done.failed_count ? false : 8000, actions: [copy] });
  } catch (reason) {
    const error = CloudMLError.from(reason);
    // One that failed on the machine in sight stands in the section until it is dismissed.
    if (error.code !== 'cancelled' && datasets.machine !== wanted.machine) {
      Notification.error(errorText(error), { autoClose: false });
    }
  }
}

/** Ask how many bytes the cache of a machine may hold, in GB; null where nothing is to change. */
export async function askQuota(
  label: string,
  quota: number,
  trans: TranslationBundle
): Promise<number | null> {
  const result = await InputDialog.getNumber({
    title: trans.__('Cache for data on %1', label),
    label: trans.__('It may hold so many GB. What was used longest ago goes first.'),
    value: Math.round(quota / 1e8) / 10,
    okLabel: trans.__('Save')
  });
  const asked = result.button.accept ? result.value : null;
  return asked !== null && asked >= 0 ? Math.round(asked * 1e9) : null;
}
