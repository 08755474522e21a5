import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IToolbarWidgetRegistry } from '@jupyterlab/apputils';
import { NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { machinesIcon } from '../icons';
import { ICloudMLSettings } from '../settings';
import { machineSpecs, specMachine } from '../specs';
import { CommandIDs, DOMAIN, ICloudML, ICurrentNotebook } from '../tokens';
import { MachineButton } from './button';
import { IChooser, chooseMachine, confirmAndMove } from './choose';

/** The item that the settings schema puts into the notebook's toolbar. */
const TOOLBAR_ITEM = 'cloudml-machine';

export const pickerPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:picker',
  description: 'Lets the user choose where a notebook runs.',
  autoStart: true,
  requires: [ICloudML, ICloudMLSettings, ICurrentNotebook],
  optional: [IToolbarWidgetRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    settings: ICloudMLSettings,
    notebook: ICurrentNotebook,
    toolbars: IToolbarWidgetRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const { commands, serviceManager: services } = app;
    const addMachine = () => void commands.execute(CommandIDs.addMachine);
    const chooser: IChooser = { model, settings, notebook, services, trans, addMachine };

    commands.addCommand(CommandIDs.chooseMachine, {
      label: trans.__('Choose Machine…'),
      caption: trans.__('Choose where this notebook runs'),
      icon: machinesIcon,
      isEnabled: () => notebook.panel !== null,
      describedBy: {
        args: {
          type: 'object',
          properties: {
            name: { type: 'string', description: 'The machine to move to; asked for without it' },
            spec: {
              type: 'string',
              description: 'The kernelspec to move to, in place of a machine'
            }
          }
        }
      },
      execute: async args => {
        const panel = notebook.panel;
        if (!panel) {
          return;
        }
        const spec = specAsked(args, model);
        await (spec
          ? confirmAndMove(panel, spec.name, spec.machine, chooser)
          : chooseMachine(panel, chooser));
      }
    });
    notebook.changed.connect(() => commands.notifyCommandChanged(CommandIDs.chooseMachine));
    palette?.addItem({ command: CommandIDs.chooseMachine, category: trans.__('CloudML') });

    toolbars?.addFactory<NotebookPanel>('Notebook', TOOLBAR_ITEM, panel => {
      const place = notebook.placeOf(panel);
      return new MachineButton(
        panel,
        place,
        model,
        trans,
        () => void chooseMachine(panel, chooser)
      );
    });
  }
};

/** The kernelspec that a caller named, or that of the machine; undefined where somebody has to choose. */
function specAsked(
  args: ReadonlyPartialJSONObject,
  model: ICloudML
): { name: string; machine: string } | undefined {
  const { name, spec } = args;
  if (typeof spec === 'string') {
    const machine = specMachine(model.specs.specs?.kernelspecs[spec]);
    return machine === null ? undefined : { name: spec, machine };
  }
  return typeof name === 'string' ? machineSpecs(model.specs.specs, name)[0] : undefined;
}
