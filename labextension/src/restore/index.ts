import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { DOMAIN } from '../tokens';
import { ExecutionsClient } from './client';
import { NotebookRestorers } from './notebooks';

/** Puts outputs into notebooks that were made while no page was open or connected. */
export const restorePlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:restore',
  description: 'Puts outputs into notebooks that were made while no page was open or connected.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    notebooks: INotebookTracker,
    registry: ISettingRegistry | null,
    translator: ITranslator | null
  ) => {
    const { serverSettings, events, kernels } = app.serviceManager;
    const client = new ExecutionsClient(serverSettings);
    const warn = (message: string): void => {
      Notification.warning(message, { autoClose: false });
    };
    const services = { client, events, kernels, warn };
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    let restorers: NotebookRestorers | null = null;
    const turn = (on: boolean): void => {
      if (on) {
        restorers ??= new NotebookRestorers(notebooks, services, trans);
      } else {
        restorers?.dispose();
        restorers = null;
      }
    };
    const follow = (settings: ISettingRegistry.ISettings): void => {
      const update = (): void => turn(settings.composite['restoreOutputs'] !== false);
      settings.changed.connect(update);
      update();
    };
    if (registry) {
      // Without its settings the feature is on, as by default.
      registry.load(restorePlugin.id).then(follow, () => turn(true));
    } else {
      turn(true);
    }
  }
};
