import { Dialog, Notification } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { NotebookPanel } from '@jupyterlab/notebook';
import { ServiceManager } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { CloudMLError } from '../api';
import { syncFirst } from '../code/first';
import { connectMachine } from '../connect';
import { titledDialog } from '../dialogs';
import { ICloudMLSettings } from '../settings';
import { LOCAL } from '../specs';
import { errorText } from '../text';
import { ICloudML, ICurrentNotebook } from '../tokens';
import { moveNotebook } from './move';
import { IOption } from './options';
import { Picker } from './picker';

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
  if (settings.confirmMove && panel.sessionContext.session?.kernel) {
    const result = await titledDialog<unknown>({
      title: trans.__('Move %1 to %2?', name, label),
      body: <Consequences chooser={chooser} machine={machine} label={label} />,
      checkbox: {
        label: trans.__('Stop the old kernel'),
        caption: trans.__('Otherwise it goes on; open it again from the list of running kernels.'),
        checked: stopOld
      },
      buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Move') })]
    }).launch();
    if (!result.button.accept) {
      return;
    }
    stopOld = result.isChecked === true;
  }
  await move(panel, spec, machine, stopOld, chooser);
}

function Consequences(props: {
  readonly chooser: IChooser;
  readonly machine: string;
  readonly label: string;
}): JSX.Element {
  const { model, settings, trans } = props.chooser;
  const machine = model.machine(props.machine);
  return (
    <div className="jp-cloudml-consequences">
      <p>
        {trans.__('A new kernel starts on %1. Variables stay behind in the old one.', props.label)}{' '}
        {settings.syncCode && props.machine !== LOCAL
          ? trans.__('The code in its folder is sent there first; other files stay where they are.')
          : trans.__('Files stay where they are.')}
      </p>
      {machine && machine.state !== 'running' && (
        <p>
          {machine.state === 'unreachable'
            ? trans.__('%1 is unreachable now: %2', props.label, machine.cause ?? '')
            : trans.__('%1 is not connected: connecting comes first.', props.label)}
        </p>
      )}
    </div>
  );
}

async function move(
  panel: NotebookPanel,
  spec: string,
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
