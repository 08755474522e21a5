import { NotebookPanel } from '@jupyterlab/notebook';
import { Kernel, ServiceManager } from '@jupyterlab/services';
import { PromiseDelegate } from '@lumino/coreutils';

import { CloudMLError } from '../api';
import { ICloudML } from '../tokens';

/** A notebook on its way to another kernel. */
export interface IMove {
  readonly spec: string;
  /** End the kernel that the notebook leaves; otherwise it goes on in a console session. */
  readonly stopOld: boolean;
  /** Called once the new kernel has an id, with what gives it up. */
  readonly onStarting?: (cancel: () => void) => void;
}

/**
 * Give a notebook a kernel from another kernelspec.
 *
 * The new kernel starts first: until it answers, the notebook keeps the old one, and a failure leaves all as it was.
 */
export async function moveNotebook(
  panel: NotebookPanel,
  move: IMove,
  services: ServiceManager.IManager,
  model: ICloudML
): Promise<void> {
  const context = panel.sessionContext;
  if (!context.session?.kernel) {
    await context.changeKernel({ name: move.spec });
    return;
  }
  const { kernels, sessions } = services;
  // The server takes a path too, and starts the kernel in that folder.
  const request: Kernel.IKernelOptions & { path: string } = {
    name: move.spec,
    path: panel.context.localPath
  };
  const kernel = await kernels.startNew(request);
  const given = new PromiseDelegate<never>();
  given.promise.catch(() => undefined);
  move.onStarting?.(() => {
    void model.client.cancelStart(kernel.id).catch(() => undefined);
    given.reject(new CloudMLError({ code: 'cancelled', message: 'Cancelled' }));
  });
  try {
    await Promise.race([ready(kernel, model), given.promise]);
    const old = context.session;
    if (old && !move.stopOld) {
      const name = `${old.name} (${old.kernel?.name ?? ''})`;
      const { id } = old;
      // Without its session the notebook opens one of its own, and the server does not end the old kernel.
      old.dispose();
      await keepSession(services, id, name);
    }
    await context.changeKernel({ id: kernel.id });
    await sessions.refreshRunning();
  } catch (reason) {
    await kernels.shutdown(kernel.id).catch(() => undefined);
    throw reason;
  } finally {
    kernel.dispose();
  }
}

/** Resolves when the kernel has answered; rejects when it is dead, with the cause. */
async function ready(kernel: Kernel.IKernelConnection, model: ICloudML): Promise<void> {
  const dead = new PromiseDelegate<never>();
  const watch = () => {
    const row = model.kernel(kernel.id);
    if (kernel.status === 'dead' || row?.state === 'ended') {
      const message = row?.exit?.reason || row?.cause || 'The kernel did not start.';
      dead.reject(new CloudMLError({ code: 'kernel_ended', message }));
    }
  };
  kernel.statusChanged.connect(watch);
  model.changed.connect(watch);
  try {
    await Promise.race([kernel.info, dead.promise]);
  } finally {
    kernel.statusChanged.disconnect(watch);
    model.changed.disconnect(watch);
  }
}

/** Leave a session running under another path, as a console: opening it reaches the kernel again. */
async function keepSession(
  services: ServiceManager.IManager,
  id: string,
  name: string
): Promise<void> {
  const running = [...services.sessions.running()].find(session => session.id === id);
  if (!running) {
    return;
  }
  const kept = services.sessions.connectTo({ model: running });
  try {
    await kept.setPath(`${running.path}-${id.slice(0, 8)}`);
    await kept.setName(name);
    await kept.setType('console');
  } finally {
    kept.dispose();
  }
}
