import {
  ILabShell,
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { askDecision } from '../code/large';
import { addCodeCommands } from '../code/commands';
import { CodeModel } from '../code/model';
import { addData } from '../datasets';
import { JobsSection } from '../jobs/section';
import { machinesIcon } from '../icons';
import { ICloudMLSettings } from '../settings';
import { CommandIDs, DOMAIN, ICloudML, ICurrentNotebook, IDrift, IJobs } from '../tokens';
import { MachinesSection } from './machines';
import { RowMenu } from './menu';
import { NotebookSection } from './notebook';
import { CloudMLPanel } from './panel';

export const panelPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:panel',
  description: 'Adds the CloudML side panel.',
  autoStart: true,
  requires: [ICloudML, ICloudMLSettings],
  optional: [
    ICurrentNotebook,
    IDrift,
    IJobs,
    ILabShell,
    ILayoutRestorer,
    ICommandPalette,
    ITranslator,
    IStateDB
  ],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    settings: ICloudMLSettings,
    notebook: ICurrentNotebook | null,
    drift: IDrift | null,
    jobs: IJobs | null,
    shell: ILabShell | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    maybeTranslator: ITranslator | null,
    state: IStateDB | null
  ) => {
    const translator = maybeTranslator ?? nullTranslator;
    const trans = translator.load(DOMAIN);
    const { commands } = app;
    const panel = new CloudMLPanel(commands, translator, trans);
    const menu = new RowMenu(commands);
    panel.disposed.connect(() => menu.dispose());
    if (notebook) {
      const code = new CodeModel(model, question => askDecision(question, trans));
      const props = { model, notebook, code, drift, settings, commands, trans };
      panel.addSection(new NotebookSection(props), 3);
      addCodeCommands(code, commands, palette, trans);
    }
    panel.addSection(new MachinesSection({ model, commands, menu, trans }), 2);
    if (jobs) {
      panel.addSection(new JobsSection({ jobs, notebook, commands, trans }), 3, true);
    }
    addData(panel, { model, notebook, commands, state, palette, trans });
    app.shell.add(panel, 'left', { rank: 250, type: 'CloudML' });
    restorer?.add(panel, panel.id);
    void app.restored.then(() => panel.balance());

    commands.addCommand(CommandIDs.showPanel, {
      label: trans.__('Show CloudML'),
      caption: trans.__('Show where notebooks run'),
      icon: machinesIcon,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => (shell ?? app.shell).activateById(panel.id)
    });
    palette?.addItem({ command: CommandIDs.showPanel, category: trans.__('CloudML') });
  }
};
