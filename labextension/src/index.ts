import { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { addPlugin } from './add';
import { checkPlugin } from './check';
import { commandsPlugin } from './commands';
import { modelPlugin, notebookPlugin, settingsPlugin } from './core';
import { driftPlugin } from './drift';
import { environmentsPlugin } from './environments';
import { jobsPlugin, runPlugin } from './jobs';
import { jobPagesPlugin } from './jobs/pages';
import { noticesPlugin } from './notebook/notices';
import { panelPlugin } from './panel';
import { pickerPlugin } from './picker';
import { reconnectPlugin } from './reconnect';
import { restorePlugin } from './restore';
import { statusPlugin } from './status';

export { IServerWatch } from './reconnect';
export { ICloudMLSettings } from './settings';
export { ICloudML, ICurrentNotebook } from './tokens';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  settingsPlugin,
  modelPlugin,
  notebookPlugin,
  commandsPlugin,
  panelPlugin,
  pickerPlugin,
  addPlugin,
  checkPlugin,
  environmentsPlugin,
  driftPlugin,
  jobsPlugin,
  runPlugin,
  jobPagesPlugin,
  noticesPlugin,
  statusPlugin,
  restorePlugin,
  reconnectPlugin
];

export default plugins;
