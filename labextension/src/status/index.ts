import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { CommandIDs, DOMAIN, ICloudML, ICurrentNotebook } from '../tokens';
import { StatusItem } from './item';

export const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:status',
  description: 'Shows the machine of the notebook in front in the status bar.',
  autoStart: true,
  requires: [ICloudML, ICurrentNotebook],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    notebook: ICurrentNotebook,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ) => {
    if (!statusBar) {
      return;
    }
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const item = new StatusItem(model, notebook, trans, () => {
      void app.commands.execute(CommandIDs.showPanel);
    });
    statusBar.registerStatusItem('jupyter-cloudml:status', {
      item,
      align: 'left',
      rank: 5,
      isActive: () => notebook.place !== null,
      activeStateChanged: notebook.changed
    });
  }
};
