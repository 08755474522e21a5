import { Dialog, Notification } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

import { CloudMLError } from '../api';
import { titledDialog } from '../dialogs';
import { LOCAL } from '../specs';
import { errorText } from '../text';
import { ICloudML } from '../tokens';
import { CodeClient } from './client';
import { CloneForm } from './clone_form';
import { askDecision } from './large';
import { ICloned, IClone, isQuestion } from './types';

/** Ask for a Git URL, a branch, tag or commit, and a machine; clone here, below `path`, and send it there. */
export async function cloneCode(
  path: string,
  model: ICloudML,
  trans: TranslationBundle
): Promise<void> {
  const machines = (model.machines ?? []).filter(machine => machine.name !== LOCAL);
  if (machines.length === 0) {
    Notification.info(trans.__('Add a machine first: code is cloned for one.'), {
      autoClose: 4000
    });
    return;
  }
  const client = new CodeClient(model.client);
  const dialog = titledDialog<IClone>({
    title: trans.__('Clone a Git repository'),
    body: new CloneForm(machines, path, url => client.refs(url, path), trans),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Clone') })],
    focusNodeSelector: 'input'
  });
  dialog.addClass('jp-cloudml-dialog');
  const result = await dialog.launch();
  if (result.button.accept && result.value?.url) {
    await clone(result.value, model, trans);
  }
}

async function clone(what: IClone, model: ICloudML, trans: TranslationBundle): Promise<void> {
  const label = model.machine(what.machine)?.label ?? what.machine;
  const doing = trans.__('Cloning to %1', label);
  let giveUp = () => undefined as void;
  const actions = [{ label: trans.__('Cancel'), callback: () => giveUp() }];
  const notice = Notification.emit(doing, 'in-progress', { autoClose: false, actions });
  try {
    const done = await run(what, model, cancel => (giveUp = cancel));
    const commit = `${done.branch ?? 'HEAD'}@${(done.base_commit ?? '').slice(0, 7)}`;
    Notification.dismiss(notice);
    Notification.success(trans.__('%1 (%2) is here and on %3', done.name, commit, label), {
      autoClose: 6000
    });
    if (done.warnings.length > 0) {
      const lacks = trans.__('%1 lacks something: %2', done.name, done.warnings.join(' · '));
      Notification.warning(lacks, { autoClose: false });
    }
  } catch (reason) {
    const error = CloudMLError.from(reason);
    Notification.dismiss(notice);
    if (isQuestion(error)) {
      const decision = await askDecision(error, trans);
      if (decision) {
        await clone({ ...what, ...decision }, model, trans);
      }
    } else if (error.code !== 'cancelled') {
      const message = trans.__('It was not cloned: %1', errorText(error));
      Notification.error(message, { autoClose: false });
    }
  }
}

async function run(
  what: IClone,
  model: ICloudML,
  onBegun: (cancel: () => void) => void
): Promise<ICloned> {
  const { id } = await new CodeClient(model.client).clone(what);
  const operation = model.watch(id);
  onBegun(() => void operation.cancel().catch(() => undefined));
  try {
    return (await operation.ended).result as ICloned;
  } finally {
    operation.dispose();
  }
}
