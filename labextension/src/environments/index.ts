import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { ITranslator, TranslationBundle, nullTranslator } from '@jupyterlab/translation';

import { applies } from '../actions';
import { MACHINE_ARGS, chosenMachine, showFailure } from '../commands';
import { machinesIcon } from '../icons';
import { CommandIDs, DOMAIN, ICloudML, ICurrentNotebook } from '../tokens';
import { build } from './build';
import { askBuild } from './form';
import { EnvironmentsPage } from './page';

export const environmentsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:environments',
  description: 'Builds, shows and removes environments on machines.',
  autoStart: true,
  requires: [ICloudML],
  optional: [ICurrentNotebook, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    notebook: ICurrentNotebook | null,
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
    addPage(app, model, notebook, trans);
    palette?.addItem({ command: CommandIDs.showEnvironments, category: trans.__('CloudML') });
  }
};

/** Show what environments a machine has, in the main area. */
function addPage(
  app: JupyterFrontEnd,
  model: ICloudML,
  notebook: ICurrentNotebook | null,
  trans: TranslationBundle
): void {
  const namespace = 'cloudml-environments';
  const tracker = new WidgetTracker<MainAreaWidget<EnvironmentsPage>>({ namespace });
  const { commands } = app;
  const use = (spec: string) => void commands.execute(CommandIDs.chooseMachine, { spec });
  commands.addCommand(CommandIDs.showEnvironments, {
    label: args => (args['name'] ? trans.__('Environments') : trans.__('Show Environments…')),
    caption: trans.__('Show, compare and remove the environments of a machine'),
    describedBy: { args: MACHINE_ARGS },
    isVisible: args => {
      const machine = typeof args['name'] === 'string' ? model.machine(args['name']) : null;
      return machine ? applies(CommandIDs.showEnvironments, machine) : !args['name'];
    },
    execute: async args => {
      const machine = await chosenMachine(CommandIDs.showEnvironments, args, model, trans);
      if (!machine) {
        return;
      }
      const id = `jp-cloudml-environments-${machine.name}`;
      let widget = tracker.find(each => each.id === id);
      if (widget) {
        widget.content.refresh();
      } else {
        const content = new EnvironmentsPage({ machine, model, notebook, commands, use, trans });
        widget = new MainAreaWidget({ content });
        widget.id = id;
        widget.title.label = trans.__('Environments on %1', machine.label);
        widget.title.icon = machinesIcon;
        widget.title.closable = true;
        widget.toolbar.hide();
        app.shell.add(widget, 'main');
        await tracker.add(widget);
      }
      app.shell.activateById(id);
    }
  });
}
