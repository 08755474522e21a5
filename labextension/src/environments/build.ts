import { Dialog, Notification } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { CloudMLError } from '../api';
import { titledDialog } from '../dialogs';
import { machineSpecs } from '../specs';
import { errorText, stepText } from '../text';
import { ICloudML } from '../tokens';
import { IBuild, IBuilt, IMachine } from '../types';

/** Have an environment built, and show its steps, its end and, where it fails, what was said; null where there is none. */
export async function build(
  machine: IMachine,
  wanted: IBuild,
  model: ICloudML,
  trans: TranslationBundle
): Promise<IBuilt | null> {
  const { id } = await model.client.buildEnvironment(machine.name, wanted);
  const operation = model.watch(id);
  const title = trans.__('Environment on %1', machine.label);
  const notice = Notification.emit(title, 'in-progress', { autoClose: false });
  const cancel = () => void operation.cancel().catch(() => undefined);
  operation.changed.connect(() => {
    const step = operation.value?.step;
    if (step && operation.value?.state === 'running') {
      Notification.update({
        id: notice,
        message: `${title}: ${stepText(trans, step)}`,
        type: 'in-progress',
        autoClose: false,
        actions: [{ label: trans.__('Cancel'), callback: cancel }]
      });
    }
  });
  try {
    const built = (await operation.ended).result as IBuilt;
    await model.specs.refreshSpecs();
    Notification.update({
      id: notice,
      message: trans.__('%1 is ready on %2: choose it as a kernel', built.name, machine.label),
      type: 'success',
      autoClose: 5000,
      actions: []
    });
    return built;
  } catch (reason) {
    Notification.dismiss(notice);
    const error = CloudMLError.from(reason);
    if (error.code !== 'cancelled') {
      const log = operation.value?.log ?? [];
      const show = { label: trans.__('Show log'), callback: () => showLog(title, log, trans) };
      Notification.error(`${title}: ${errorText(error)}`, { autoClose: false, actions: [show] });
    }
    return null;
  } finally {
    operation.dispose();
  }
}

/** The kernelspec that starts what was built. */
export function specOf(built: IBuilt, machine: string, model: ICloudML): string {
  const found = machineSpecs(model.specs.specs, machine).find(each =>
    model.specs.specs?.kernelspecs[each.name]?.argv[0]?.startsWith(built.python_path)
  );
  if (!found) {
    throw new CloudMLError({
      code: 'not_found',
      message: `${machine} does not offer ${built.name} as a kernel yet`,
      hint: 'Refresh the machines, then choose it in the list of kernels.'
    });
  }
  return found.name;
}

/** Show what a resolver and an installer have said. */
export function showLog(title: string, log: ReadonlyArray<string>, trans: TranslationBundle): void {
  const body = new Widget({ node: document.createElement('pre') });
  body.addClass('jp-cloudml-log');
  body.node.tabIndex = 0;
  body.node.textContent = log.join('\n');
  const buttons = [Dialog.okButton({ label: trans.__('Close') })];
  void titledDialog({ title, body, buttons }).launch();
}
