import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { MACHINE_ARGS, chosenMachine } from '../commands';
import { machinesIcon } from '../icons';
import { CommandIDs, DOMAIN, ICloudML } from '../tokens';
import { CheckWidget } from './widget';

export const checkPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:check',
  description: 'Diagnoses the way to a machine, step by step.',
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
    const tracker = new WidgetTracker<MainAreaWidget<CheckWidget>>({ namespace: 'cloudml-check' });

    app.commands.addCommand(CommandIDs.checkMachine, {
      label: args => (args['name'] ? trans.__('Check…') : trans.__('Check Machine…')),
      caption: trans.__('Find out step by step what works between here and a machine'),
      describedBy: { args: MACHINE_ARGS },
      execute: async args => {
        const machine = await chosenMachine(CommandIDs.checkMachine, args, model, trans);
        if (!machine) {
          return;
        }
        const id = `jp-cloudml-check-${machine.name}`;
        let widget = tracker.find(each => each.id === id);
        if (widget) {
          widget.content.again();
        } else {
          const content = new CheckWidget(machine.name, machine.label, model, trans);
          widget = new MainAreaWidget({ content });
          widget.id = id;
          widget.title.label = trans.__('Check %1', machine.label);
          widget.title.icon = machinesIcon;
          widget.title.closable = true;
          widget.toolbar.hide();
          app.shell.add(widget, 'main');
          await tracker.add(widget);
        }
        app.shell.activateById(id);
      }
    });
    palette?.addItem({ command: CommandIDs.checkMachine, category: trans.__('CloudML') });
  }
};
