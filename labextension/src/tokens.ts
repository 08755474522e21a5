import { Token } from '@lumino/coreutils';

import { DriftModel } from './drift/model';
import { JobsModel } from './jobs/model';
import { CloudMLModel } from './model';
import { CurrentNotebook } from './notebook/current';

/** The translation domain of every string of this extension. */
export const DOMAIN = 'jupyter_cloudml';

/** The machines and kernels as the server tells them, and its client. */
export type ICloudML = CloudMLModel;
export const ICloudML = new Token<ICloudML>(
  'jupyter-cloudml:ICloudML',
  'The machines and kernels that the server extension knows, kept up to date.'
);

/** The notebook in front and the machine its kernel runs on. */
export type ICurrentNotebook = CurrentNotebook;
export const ICurrentNotebook = new Token<ICurrentNotebook>(
  'jupyter-cloudml:ICurrentNotebook',
  'The notebook in front and the machine that its kernel runs on.'
);

/** How the packages of kernels compare with those here. */
export type IDrift = DriftModel;
export const IDrift = new Token<IDrift>(
  'jupyter-cloudml:IDrift',
  'How the packages of kernels on machines compare with those here.'
);

/** The jobs and runs that the server knows, and what it says of them. */
export type IJobs = JobsModel;
export const IJobs = new Token<IJobs>(
  'jupyter-cloudml:IJobs',
  'The jobs and runs that the server extension knows, and what it says of them.'
);

/** The commands. Those about a machine take `{name}` and ask for it where it is missing. */
export namespace CommandIDs {
  export const showPanel = 'cloudml:show-panel';
  export const refresh = 'cloudml:refresh';
  export const chooseMachine = 'cloudml:choose-machine';
  export const addMachine = 'cloudml:add-machine';
  export const startMachine = 'cloudml:start-machine';
  export const stopMachine = 'cloudml:stop-machine';
  export const retryMachine = 'cloudml:retry-machine';
  export const checkMachine = 'cloudml:check-machine';
  export const removeMachine = 'cloudml:remove-machine';
  export const openNotebook = 'cloudml:open-notebook';
  export const changeMachine = 'cloudml:change-machine';
  export const buildEnvironment = 'cloudml:build-environment';
  export const showEnvironments = 'cloudml:show-environments';
  export const makeEqual = 'cloudml:make-equal';
  export const copyAddress = 'cloudml:copy-address';
  export const syncCode = 'cloudml:sync-code';
  export const cloneCode = 'cloudml:clone-code';
  export const pullCode = 'cloudml:pull-code';
  export const showBuckets = 'cloudml:show-buckets';
  export const showDatasets = 'cloudml:show-datasets';
  export const syncDataset = 'cloudml:sync-dataset';
  export const insertDataset = 'cloudml:insert-dataset';
  export const copyDataAddress = 'cloudml:copy-data-address';
  export const copyDataPath = 'cloudml:copy-data-path';
  export const runAsJob = 'cloudml:run-as-job';
  export const runSelectedAsJob = 'cloudml:run-selected-as-job';
  export const showRun = 'cloudml:show-run';
  export const showJobs = 'cloudml:show-jobs';
  export const showJob = 'cloudml:show-job';
  export const newJob = 'cloudml:new-job';
  export const cancelStart = 'cloudml:cancel-start';
}
