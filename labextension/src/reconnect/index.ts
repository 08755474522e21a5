import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { Token } from '@lumino/coreutils';
import { Widget } from '@lumino/widgets';

import { DOMAIN } from '../tokens';
import { ServerBanner } from './banner';
import { ErrorDialogCloser } from './dialog';
import { OpenKernels } from './kernels';
import { SleepWatch } from './sleep';
import { refreshStatus } from './status';
import { ServerState, ServerWatch } from './watch';

/** Whether the server is there. */
export type IServerWatch = ServerWatch;
export const IServerWatch = new Token<IServerWatch>(
  'jupyter-cloudml:IServerWatch',
  'Tells when the Jupyter server went away and when it is back.'
);

/** Connects an open page again as soon as the server answers, where Lab alone waits for up to half a minute. */
export const reconnectPlugin: JupyterFrontEndPlugin<IServerWatch> = {
  id: 'jupyter-cloudml:reconnect',
  description: 'Connects an open page again as soon as the server answers.',
  autoStart: true,
  provides: IServerWatch,
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, translator: ITranslator | null): IServerWatch => {
    const { serviceManager } = app;
    const translate = translator ?? nullTranslator;
    const watch = new ServerWatch(serviceManager.serverSettings);
    const kernels = new OpenKernels(app.shell);
    const dialogs = new ErrorDialogCloser(translate);
    const banner = new ServerBanner(translate.load(DOMAIN));
    Widget.attach(banner, document.body);

    /** After sleep the other ends of sockets that look open may have given them up. */
    let distrust = false;
    const bringUp = (): void => {
      kernels.reconnect(distrust);
      distrust = false;
      dialogs.close();
      // What fails here is tried again by their own polls.
      serviceManager.kernels.refreshRunning().catch(() => undefined);
      serviceManager.sessions.refreshRunning().catch(() => undefined);
    };
    watch.changed.connect((_, state: ServerState) => {
      banner.tell(state);
      if (state === 'there') {
        bringUp();
      }
    });
    serviceManager.connectionFailure.connect(() => void watch.check());
    kernels.lost.connect(() => void watch.check());
    kernels.connected.connect((_, kernel) => {
      refreshStatus(kernel, serviceManager.serverSettings).catch(() => undefined);
    });
    new SleepWatch().woke.connect(async (_, slept) => {
      distrust ||= slept;
      if ((await watch.check()) === 'there' && distrust) {
        bringUp(); // Unless the server's return has done it.
      }
    });
    return watch;
  }
};
