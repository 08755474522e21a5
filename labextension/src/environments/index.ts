import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { MACHINE_ARGS, chosenMachine, showFailure } from '../commands';
import { CommandIDs, DOMAIN, ICloudML } from '../tokens';
import { build } from './build';
import { askBuild } from './form';

export const environmentsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:environments',
  description: 'Builds environments on machines.',
  autoStart: true,
  requires: [ICloudML],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const id = CommandIDs.buildEnvironment;
    app.commands.addCommand(id, {
      label: args =>
        args['name'] ? trans.__('Build environment…') : trans.__('Build an Environment…'),
      caption: trans.__(
        'Build a set of packages on a machine; notebooks can choose it as a kernel'
      ),
      describedBy: { args: MACHINE_ARGS },
      execute: async args => {
        try {
          const machine = await chosenMachine(id, args, model, trans);
          const wanted = machine && (await askBuild(machine, model, trans));
          if (machine && wanted) {
            await build(machine, wanted, model, trans);
          }
        } catch (reason) {
          showFailure(reason);
        }
      }
    });
    palette?.addItem({ command: id, category: trans.__('CloudML') });
  }
};
