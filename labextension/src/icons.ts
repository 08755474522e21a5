import { LabIcon } from '@jupyterlab/ui-components';

import busySvg from '../style/icons/busy.svg';
import endedSvg from '../style/icons/ended.svg';
import machinesSvg from '../style/icons/machines.svg';
import offSvg from '../style/icons/off.svg';
import reconnectingSvg from '../style/icons/reconnecting.svg';
import runningSvg from '../style/icons/running.svg';
import troubleSvg from '../style/icons/trouble.svg';

/** The extension's own icon: two machines. */
export const machinesIcon = new LabIcon({ name: 'cloudml:machines', svgstr: machinesSvg });

export const runningIcon = new LabIcon({ name: 'cloudml:running', svgstr: runningSvg });
export const busyIcon = new LabIcon({ name: 'cloudml:busy', svgstr: busySvg });
export const offIcon = new LabIcon({ name: 'cloudml:off', svgstr: offSvg });
export const troubleIcon = new LabIcon({ name: 'cloudml:trouble', svgstr: troubleSvg });
export const reconnectingIcon = new LabIcon({
  name: 'cloudml:reconnecting',
  svgstr: reconnectingSvg
});
export const endedIcon = new LabIcon({ name: 'cloudml:ended', svgstr: endedSvg });
