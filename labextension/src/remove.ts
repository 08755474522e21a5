import { Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

import { titledDialog } from './dialogs';
import { ICloudML } from './tokens';
import { IMachine } from './types';

/** Ask, then forget a machine and end what runs there. */
export async function askRemove(
  machine: IMachine,
  model: ICloudML,
  trans: TranslationBundle
): Promise<void> {
  const kernels = machine.kernels;
  const fate =
    kernels > 0
      ? trans._n(
          '%1 kernel runs there: it ends, and its variables are lost.',
          '%1 kernels run there: they end, and their variables are lost.',
          kernels
        )
      : trans.__('Nothing runs there.');
  const result = await titledDialog<unknown>({
    title: trans.__('Remove %1?', machine.label),
    body: `${trans.__('The machine leaves the list; files on it stay.')} ${fate}`,
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Remove') })],
    defaultButton: 0
  }).launch();
  if (!result.button.accept) {
    return;
  }
  const { id } = await model.client.removeMachine(machine.name, kernels > 0);
  const operation = model.watch(id);
  try {
    await operation.ended;
  } finally {
    operation.dispose();
  }
  await model.refresh();
}
