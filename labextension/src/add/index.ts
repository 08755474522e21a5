import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { machinesIcon } from '../icons';
import { CommandIDs, DOMAIN, ICloudML, ICurrentNotebook } from '../tokens';
import { AddMachineWidget } from './widget';

export const addPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:add',
  description: 'Adds machines over SSH.',
  autoStart: true,
  requires: [ICloudML],
  optional: [ICurrentNotebook, ILayoutRestorer, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    notebook: ICurrentNotebook | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const { commands } = app;
    const tracker = new WidgetTracker<MainAreaWidget<AddMachineWidget>>({
      namespace: 'cloudml-add-machine'
    });
    void restorer?.restore(tracker, {
      command: CommandIDs.addMachine,
      name: () => 'add-machine'
    });

    commands.addCommand(CommandIDs.addMachine, {
      label: args =>
        args['isNew'] ? trans.__('Machine over SSH…') : trans.__('Add Machine over SSH…'),
      caption: trans.__('Add a machine that you reach over SSH'),
      icon: machinesIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: { isNew: { type: 'boolean', description: 'Shown in a menu called New' } }
        }
      },
      execute: async () => {
        let widget = tracker.find(() => true);
        if (!widget) {
          const content = new AddMachineWidget({ model, notebook, commands, trans });
          widget = new MainAreaWidget({ content });
          widget.id = 'jp-cloudml-add-machine';
          widget.title.label = trans.__('Add machine');
          widget.title.icon = machinesIcon;
          widget.title.closable = true;
          widget.toolbar.hide();
          app.shell.add(widget, 'main');
          await tracker.add(widget);
        }
        app.shell.activateById(widget.id);
      }
    });
    palette?.addItem({ command: CommandIDs.addMachine, category: trans.__('CloudML') });
  }
};
