import { Dialog, Notification } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { NotebookPanel } from '@jupyterlab/notebook';
import { ServiceManager } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { CloudMLError } from '../api';
import { titledDialog } from '../dialogs';
import { build, specOf } from '../environments/build';
import { moveNotebook } from '../picker/move';
import { errorText } from '../text';
import { ICloudML } from '../tokens';
import { IKernelDrift } from './types';

/** Build the packages here on the machine of a notebook's kernel, and move the notebook into them. */
export async function makeEqual(
  panel: NotebookPanel,
  drift: IKernelDrift,
  of: {
    readonly hasRun: boolean;
    readonly model: ICloudML;
    readonly services: ServiceManager.IManager;
    readonly trans: TranslationBundle;
  }
): Promise<void> {
  const { model, services, trans } = of;
  const name = PathExt.basename(panel.context.path);
  const machine = model.machine(drift.machine);
  if (!machine || (of.hasRun && !(await mayStartAnew(name, trans)))) {
    return;
  }
  const spec = drift.found?.against.spec;
  const built = await build(machine, { same: true, ...(spec ? { spec } : {}) }, model, trans);
  if (!built || panel.isDisposed) {
    return;
  }
  try {
    await moveNotebook(
      panel,
      { spec: specOf(built, machine.name, model), stopOld: true },
      services,
      model
    );
    const message = trans.__('%1 has the packages of here on %2', name, machine.label);
    Notification.success(message, { autoClose: 5000 });
  } catch (reason) {
    const message = errorText(CloudMLError.from(reason));
    Notification.error(trans.__('%1 keeps its kernel: %2', name, message), { autoClose: false });
  }
}

/** Ask where there is something to lose: the kernel has run cells. */
async function mayStartAnew(name: string, trans: TranslationBundle): Promise<boolean> {
  const result = await titledDialog<unknown>({
    title: trans.__('Start %1 anew?', name),
    body: trans.__(
      'Its kernel has run cells. It starts anew in the new environment, and its variables are lost.'
    ),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Build and start anew') })]
  }).launch();
  return result.button.accept;
}
