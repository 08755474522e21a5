import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { titledDialog } from '../dialogs';
import { size } from '../text';
import { IDecision, ILargeFile, ILargeFolder, IQuestion } from './types';

/** Ask what the server could not decide; null where the user goes no further. */
export function askDecision(
  question: IQuestion,
  trans: TranslationBundle
): Promise<IDecision | null> {
  const { code, details } = question;
  return code === 'large_folder'
    ? askFolder(details as unknown as ILargeFolder, trans)
    : askFiles((details['files'] ?? []) as ILargeFile[], trans);
}

/** Ask whether so much is sent. It is asked again where it becomes twice as much. */
async function askFolder(
  folder: ILargeFolder,
  trans: TranslationBundle
): Promise<IDecision | null> {
  const result = await titledDialog<unknown>({
    title: trans.__('Send so much?'),
    body: (
      <div className="jp-cloudml-consequences">
        <p>{trans.__('%1 files would be sent, %2.', folder.files, size(trans, folder.bytes))}</p>
        <p>{trans.__('Most of it is in:')}</p>
        <ul>
          {folder.folders.map(each => (
            <li key={each.path}>
              {trans.__('%1 (%2 files, %3)', each.path, each.files, size(trans, each.bytes))}
            </li>
          ))}
        </ul>
        <p>{trans.__('What .gitignore names stays here.')}</p>
      </div>
    ),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Send All') })],
    defaultButton: 0
  }).launch();
  return result.button.accept ? { everything: true } : null;
}

/** Ask which large files are sent; the others stay here. It is asked once for each. */
async function askFiles(
  files: ReadonlyArray<ILargeFile>,
  trans: TranslationBundle
): Promise<IDecision | null> {
  const dialog = titledDialog<IDecision>({
    title: trans.__('Send large files?'),
    body: new LargeFiles(files, trans),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Continue') })],
    focusNodeSelector: 'input'
  });
  dialog.addClass('jp-cloudml-dialog');
  const result = await dialog.launch();
  return result.button.accept ? result.value : null;
}

/** A box to tick for each file; its value is the decision. */
class LargeFiles extends ReactWidget implements Dialog.IBodyWidget<IDecision> {
  constructor(
    private readonly _files: ReadonlyArray<ILargeFile>,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-cloudml-large');
  }

  getValue(): IDecision {
    const paths = this._files.map(file => file.path);
    return {
      send: paths.filter(path => this._sent.has(path)),
      leave: paths.filter(path => !this._sent.has(path))
    };
  }

  protected override render(): JSX.Element {
    const trans = this._trans;
    return (
      <fieldset>
        <legend>{trans.__('These are sent where you tick them, and stay here otherwise:')}</legend>
        {this._files.map(file => (
          <label key={file.path}>
            <input type="checkbox" onChange={event => this._set(file.path, event.target.checked)} />
            <span className="jp-cloudml-detail">
              {file.path} ({size(trans, file.size)})
            </span>
          </label>
        ))}
      </fieldset>
    );
  }

  private _set(path: string, sent: boolean): void {
    if (sent) {
      this._sent.add(path);
    } else {
      this._sent.delete(path);
    }
  }

  private readonly _sent = new Set<string>();
}
