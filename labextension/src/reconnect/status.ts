import { Kernel, KernelAPI, ServerConnection } from '@jupyterlab/services';

/**
 * Have a kernel that was connected (again) show what it does.
 *
 * The page hears of a status when it changes only. A kernel that was busy before stays "unknown" for as long as the
 * cell runs, hours perhaps; the server knows better.
 */
export async function refreshStatus(
  kernel: Kernel.IKernelConnection,
  settings: ServerConnection.ISettings
): Promise<void> {
  if (kernel.status !== 'unknown') {
    return;
  }
  const status = (await KernelAPI.getKernelModel(kernel.id, settings))?.execution_state;
  // A status that came meanwhile is newer.
  if ((status === 'busy' || status === 'idle') && kernel.status === 'unknown') {
    // There is no public way to say it (@jupyterlab/services 7.6); where this one is gone, it stays unknown.
    (kernel as unknown as IStatusHolder)._updateStatus?.(status);
  }
}

interface IStatusHolder {
  _updateStatus?(status: Kernel.Status): void;
}
