import { Dialog, Notification } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { CloudMLError } from '../api';
import { titledDialog } from '../dialogs';
import { errorText, stepText } from '../text';
import { ICloudML } from '../tokens';
import { IBuild, IMachine } from '../types';

/** Have an environment built, and show its steps, its end and, where it fails, what was said. */
export async function build(
  machine: IMachine,
  wanted: IBuild,
  model: ICloudML,
  trans: TranslationBundle
): Promise<void> {
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
    const { result } = await operation.ended;
    const { name } = result as { name: string };
    await model.specs.refreshSpecs();
    Notification.update({
      id: notice,
      message: trans.__('%1 is ready on %2: choose it as a kernel', name, machine.label),
      type: 'success',
      autoClose: 5000,
      actions: []
    });
  } catch (reason) {
    Notification.dismiss(notice);
    const error = CloudMLError.from(reason);
    if (error.code !== 'cancelled') {
      const log = operation.value?.log ?? [];
      const show = { label: trans.__('Show log'), callback: () => showLog(title, log, trans) };
      Notification.error(`${title}: ${errorText(error)}`, { autoClose: false, actions: [show] });
    }
  } finally {
    operation.dispose();
  }
}

function showLog(title: string, log: ReadonlyArray<string>, trans: TranslationBundle): void {
  const body = new Widget({ node: document.createElement('pre') });
  body.addClass('jp-cloudml-log');
  body.node.tabIndex = 0;
  body.node.textContent = log.join('\n');
  const buttons = [Dialog.okButton({ label: trans.__('Close') })];
  void titledDialog({ title, body, buttons }).launch();
}
