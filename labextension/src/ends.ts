import { Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

import { titledDialog } from './dialogs';
import { ICloudML } from './tokens';
import { IMachine, IOperation } from './types';

/** Ask, then end what runs on a machine and let go of it. */
export async function askStop(
  machine: IMachine,
  model: ICloudML,
  trans: TranslationBundle
): Promise<void> {
  const accepted = await ask({
    title: trans.__('Stop %1?', machine.label),
    body: `${trans.__('All that its agent runs ends; the computer stays on.')} ${fate(machine, trans)}`,
    button: trans.__('Stop')
  });
  if (accepted) {
    await model.client.act(machine.name, 'stop');
  }
}

/** Ask, then forget a machine and end what runs there. */
export async function askRemove(
  machine: IMachine,
  model: ICloudML,
  trans: TranslationBundle
): Promise<void> {
  const accepted = await ask({
    title: trans.__('Remove %1?', machine.label),
    body: `${trans.__('The machine leaves the list; files on it stay.')} ${fate(machine, trans)}`,
    button: trans.__('Remove')
  });
  if (accepted) {
    await ended(await model.client.removeMachine(machine.name, machine.kernels > 0), model);
    await model.refresh();
  }
}

/** What becomes of that which runs on a machine when it is let go of. */
function fate(machine: IMachine, trans: TranslationBundle): string {
  if (machine.state !== 'running') {
    return trans.__('Whatever runs there ends if the machine can be reached.');
  }
  if (machine.kernels === 0) {
    return trans.__('No kernel runs there.');
  }
  return trans._n(
    '%1 kernel runs there: it ends, and its variables are lost.',
    '%1 kernels run there: they end, and their variables are lost.',
    machine.kernels
  );
}

async function ask(question: { title: string; body: string; button: string }): Promise<boolean> {
  const result = await titledDialog<unknown>({
    title: question.title,
    body: question.body,
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: question.button })],
    defaultButton: 0
  }).launch();
  return result.button.accept;
}

async function ended(begun: IOperation, model: ICloudML): Promise<void> {
  const operation = model.watch(begun.id);
  try {
    await operation.ended;
  } finally {
    operation.dispose();
  }
}
