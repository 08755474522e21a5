import { LabIcon } from '@jupyterlab/ui-components';

import busySvg from '../style/icons/busy.svg';
import doneSvg from '../style/icons/done.svg';
import endedSvg from '../style/icons/ended.svg';
import jobSvg from '../style/icons/job.svg';
import machinesSvg from '../style/icons/machines.svg';
import offSvg from '../style/icons/off.svg';
import reconnectingSvg from '../style/icons/reconnecting.svg';
import runningSvg from '../style/icons/running.svg';
import skippedSvg from '../style/icons/skipped.svg';
import troubleSvg from '../style/icons/trouble.svg';

/** The extension's own icon: two machines. */
export const machinesIcon = new LabIcon({ name: 'cloudml:machines', svgstr: machinesSvg });

/** Jobs: a notebook that runs by itself. */
export const jobIcon = new LabIcon({ name: 'cloudml:job', svgstr: jobSvg });

export const doneIcon = new LabIcon({ name: 'cloudml:done', svgstr: doneSvg });
export const skippedIcon = new LabIcon({ name: 'cloudml:skipped', svgstr: skippedSvg });
export const runningIcon = new LabIcon({ name: 'cloudml:running', svgstr: runningSvg });
export const busyIcon = new LabIcon({ name: 'cloudml:busy', svgstr: busySvg });
export const offIcon = new LabIcon({ name: 'cloudml:off', svgstr: offSvg });
export const troubleIcon = new LabIcon({ name: 'cloudml:trouble', svgstr: troubleSvg });
export const reconnectingIcon = new LabIcon({
  name: 'cloudml:reconnecting',
  svgstr: reconnectingSvg
});
export const endedIcon = new LabIcon({ name: 'cloudml:ended', svgstr: endedSvg });
