import { ICommandPalette } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { CommandIDs } from '../tokens';
import { CodeModel } from './model';

/** Add the commands that sync the code of the notebook in front. */
export function addCodeCommands(
  code: CodeModel,
  commands: CommandRegistry,
  palette: ICommandPalette | null,
  trans: TranslationBundle
): void {
  const add = (id: string, label: string, isEnabled: () => boolean, act: () => Promise<void>) => {
    commands.addCommand(id, {
      label,
      isEnabled,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: act
    });
    code.changed.connect(() => commands.notifyCommandChanged(id));
    palette?.addItem({ command: id, category: trans.__('CloudML') });
  };
  add(
    CommandIDs.syncCode,
    trans.__('Send Code to the Machine of This Notebook'),
    () => code.of !== null && !code.running,
    () => code.sync()
  );
  add(
    CommandIDs.pullCode,
    trans.__('Bring Back Changed Code from the Machine of This Notebook'),
    () => Boolean(code.value?.synced_ms) && !code.running,
    () => code.pull()
  );
}
