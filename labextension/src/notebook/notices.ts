import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { DOMAIN, ICloudML } from '../tokens';
import { IKernel } from '../types';
import { endText } from './end';

/** Whether nobody asked for this end. */
function unexpected({ cause, exit }: IKernel): boolean {
  return exit ? !exit.asked && (Boolean(exit.oom) || exit.signal !== null) : Boolean(cause);
}

export const noticesPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:notices',
  description: 'Says why a kernel ended, and offers what to do next.',
  autoStart: true,
  requires: [ICloudML, INotebookTracker],
  optional: [ITranslator],
  activate: (
    _: JupyterFrontEnd,
    model: ICloudML,
    notebooks: INotebookTracker,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const panelOf = (kernel: IKernel): NotebookPanel | undefined =>
      notebooks.find(panel => panel.sessionContext.session?.kernel?.id === kernel.id);

    model.kernelEnded.connect((_, kernel) => {
      const panel = panelOf(kernel);
      if (!panel || !unexpected(kernel)) {
        return;
      }
      const name = PathExt.basename(panel.context.path);
      // The server may have started another kernel meanwhile: that one is not to be ended.
      const restart = () => {
        if (['dead', 'unknown'].includes(panel.sessionContext.kernelDisplayStatus)) {
          void panel.sessionContext.restartKernel();
        } else {
          Notification.info(trans.__('%1 has a new kernel already.', name), { autoClose: 4000 });
        }
      };
      const caption = trans.__('Start a new kernel, with none of the variables');
      const actions = [{ label: trans.__('Restart'), caption, callback: restart }];
      Notification.error(`${name}: ${endText(trans, kernel)}`, { autoClose: false, actions });
    });
  }
};
