import { Dialog, Notification } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { NotebookPanel } from '@jupyterlab/notebook';
import { ServiceManager } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';

import { CloudMLError } from '../api';
import { syncFirst } from '../code/first';
import { connectMachine } from '../connect';
import { titledDialog } from '../dialogs';
import { specOf } from '../environments/build';
import { EnvironmentChoice } from '../environments/choice';
import { ICloudMLSettings } from '../settings';
import { specMachine } from '../specs';
import { errorText, stepText } from '../text';
import { ICloudML, ICurrentNotebook } from '../tokens';
import { IBuilt } from '../types';
import { moveNotebook } from './move';
import { IOption } from './options';
import { Picker } from './picker';
import { MoveQuestion } from './question';

export interface IChooser {
  readonly model: ICloudML;
  readonly settings: ICloudMLSettings;
  readonly notebook: ICurrentNotebook;
  readonly services: ServiceManager.IManager;
  readonly trans: TranslationBundle;
  readonly addMachine: () => void;
}

/** Let the user choose where a notebook runs, and move it there. */
export async function chooseMachine(panel: NotebookPanel, chooser: IChooser): Promise<void> {
  const { model, trans } = chooser;
  const name = PathExt.basename(panel.context.path);
  const current = panel.sessionContext.session?.kernel?.name ?? null;
  const machines = model.machines ?? [];
  const picker = new Picker({ machines, specs: model.specs.specs, current, trans });
  const dialog = titledDialog<IOption | null>({
    title: trans.__('Where should %1 run?', name),
    body: picker,
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Choose') })],
    focusNodeSelector: 'input'
  });
  dialog.addClass('jp-cloudml-dialog');
  picker.onChosen = () => dialog.resolve(1);
  const result = await dialog.launch();
  const option = result.button.accept ? result.value : null;
  if (!option) {
    return;
  }
  if (!option.machine) {
    chooser.addMachine();
    return;
  }
  if (option.spec !== current) {
    await confirmAndMove(panel, option.spec, option.machine.name, chooser);
  }
}

/** Say what moving means, ask, and move. */
export async function confirmAndMove(
  panel: NotebookPanel,
  spec: string,
  machine: string,
  chooser: IChooser
): Promise<void> {
  const { model, settings, trans } = chooser;
  const name = PathExt.basename(panel.context.path);
  const label = model.machine(machine)?.label ?? machine;
  let stopOld = settings.stopOldKernel;
  let environment: EnvironmentChoice = { spec };
  const kernel = panel.sessionContext.session?.kernel;
  if (settings.confirmMove && kernel) {
    const from = specMachine(model.specs.specs?.kernelspecs[kernel.name]);
    const before = from === null ? kernel.name : null;
    const path = panel.context.localPath;
    const question = { path, spec, machine, label, before };
    const dialog = titledDialog<EnvironmentChoice>({
      title: trans.__('Move %1 to %2?', name, label),
      body: new MoveQuestion(question, model, settings, trans),
      checkbox: {
        label: trans.__('Stop the old kernel'),
        caption: trans.__('Otherwise it goes on; open it again from the list of running kernels.'),
        checked: stopOld
      },
      buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Move') })],
      focusNodeSelector: '.jp-Dialog-footer .jp-mod-accept'
    });
    dialog.addClass('jp-cloudml-dialog');
    const result = await dialog.launch();
    if (!result.button.accept) {
      return;
    }
    stopOld = result.isChecked === true;
    environment = result.value ?? environment;
  }
  await move(panel, environment, machine, stopOld, chooser);
}

async function move(
  panel: NotebookPanel,
  environment: EnvironmentChoice,
  machine: string,
  stopOld: boolean,
  chooser: IChooser
): Promise<void> {
  const { model, notebook, services, trans } = chooser;
  const name = PathExt.basename(panel.context.path);
  const label = model.machine(machine)?.label ?? machine;
  const place = notebook.placeOf(panel);
  place.setMoving(machine);
  const moving = trans.__('Moving %1 to %2', name, label);
  // What gives up the step that is under way. The button is there from the start: a toast can miss an early update.
  let giveUp = () => undefined as void;
  let givenUp = false;
  const callback = () => {
    givenUp = true;
    giveUp();
  };
  const actions = [{ label: trans.__('Cancel'), callback }];
  const notice = Notification.emit(moving, 'in-progress', { autoClose: false, actions });
  const offerCancel = (doing: string) => (cancel: () => void) => {
    giveUp = cancel;
    if (givenUp) {
      cancel();
      return;
    }
    const message = `${moving}: ${doing}`;
    Notification.update({ id: notice, message, type: 'in-progress', autoClose: false, actions });
  };
  try {
    await connectMachine(machine, model, offerCancel(trans.__('connecting')));
    const spec = await specIn(environment, machine, model, offerCancel, trans);
    if (chooser.settings.syncCode) {
      const onBegun = offerCancel(trans.__('sending its code'));
      const of = { path: panel.context.localPath, machine };
      await syncFirst(of, { model, trans, label, onBegun });
    }
    const onStarting = offerCancel(trans.__('the kernel starts'));
    await moveNotebook(panel, { spec, stopOld, onStarting }, services, model);
    Notification.update({
      id: notice,
      message: trans.__('%1 runs on %2', name, label),
      type: 'success',
      autoClose: 3000,
      actions: []
    });
  } catch (reason) {
    const error = CloudMLError.from(reason);
    const kept = trans.__('The notebook keeps its kernel.');
    Notification.dismiss(notice);
    if (error.code !== 'cancelled') {
      const message = trans.__('%1 did not move to %2: %3', name, label, errorText(error));
      Notification.error(`${message} ${kept}`, { autoClose: false });
    }
  } finally {
    if (!place.isDisposed) {
      place.setMoving(null);
    }
  }
}

/** The kernelspec of an environment, which is built first where it is not there. */
async function specIn(
  environment: EnvironmentChoice,
  machine: string,
  model: ICloudML,
  offerCancel: (doing: string) => (cancel: () => void) => void,
  trans: TranslationBundle
): Promise<string> {
  if ('spec' in environment) {
    return environment.spec;
  }
  const { id } = await model.client.buildEnvironment(machine, environment.build);
  const operation = model.watch(id);
  const cancel = () => void operation.cancel().catch(() => undefined);
  offerCancel(trans.__('building its environment'))(cancel);
  operation.changed.connect(() => {
    const { state, step } = operation.value ?? {};
    if (step && state === 'running') {
      offerCancel(stepText(trans, step))(cancel);
    }
  });
  try {
    const built = (await operation.ended).result as IBuilt;
    await model.specs.refreshSpecs();
    return specOf(built, machine, model);
  } finally {
    operation.dispose();
  }
}
