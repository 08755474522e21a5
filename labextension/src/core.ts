import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';

import { CloudMLClient } from './api';
import { CloudMLModel } from './model';
import { CurrentNotebook } from './notebook/current';
import { IServerWatch } from './reconnect';
import { CloudMLSettings, ICloudMLSettings } from './settings';
import { ICloudML, ICurrentNotebook } from './tokens';

/** The id that the settings schema is filed under. */
const SETTINGS = 'jupyter-cloudml:plugin';

export const settingsPlugin: JupyterFrontEndPlugin<ICloudMLSettings> = {
  id: SETTINGS,
  description: 'Provides the settings, the toolbar item, the menus and the shortcut.',
  autoStart: true,
  provides: ICloudMLSettings,
  optional: [ISettingRegistry],
  activate: (_: JupyterFrontEnd, registry: ISettingRegistry | null) => {
    const settings = new CloudMLSettings();
    registry
      ?.load(SETTINGS)
      .then(loaded => settings.follow(loaded))
      .catch(reason => console.error(`The settings of ${SETTINGS} could not be read.`, reason));
    return settings;
  }
};

export const modelPlugin: JupyterFrontEndPlugin<ICloudML> = {
  id: 'jupyter-cloudml:model',
  description: 'Provides the machines and kernels that the server extension knows.',
  autoStart: true,
  provides: ICloudML,
  optional: [IServerWatch],
  activate: (app: JupyterFrontEnd, watch: IServerWatch | null) => {
    const { serverSettings, events, kernelspecs } = app.serviceManager;
    const model = new CloudMLModel(new CloudMLClient(serverSettings), events, kernelspecs);
    if (watch) {
      // Who first finds the server away, or back, tells the other.
      model.changed.connect(() => {
        if (model.error?.code === 'no_server' && watch.state === 'there') {
          void watch.check();
        }
      });
      watch.changed.connect((_, state) => {
        if (state === 'there') {
          void model.refresh();
        }
      });
    }
    void model.refresh();
    return model;
  }
};

export const notebookPlugin: JupyterFrontEndPlugin<ICurrentNotebook> = {
  id: 'jupyter-cloudml:notebook',
  description: 'Provides where the notebook in front runs.',
  autoStart: true,
  provides: ICurrentNotebook,
  requires: [ICloudML, INotebookTracker],
  activate: (_: JupyterFrontEnd, model: ICloudML, notebooks: INotebookTracker) =>
    new CurrentNotebook(notebooks, model)
};
