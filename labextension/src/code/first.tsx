import { Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { CloudMLError } from '../api';
import { titledDialog } from '../dialogs';
import { LOCAL } from '../specs';
import { ICloudML } from '../tokens';
import { CodeClient } from './client';
import { askDecision } from './large';
import { ICodeOf, IDecision, isQuestion } from './types';

/** What the sync before a move needs. */
export interface IFirstSync {
  readonly model: ICloudML;
  readonly trans: TranslationBundle;
  /** The machine as it is called. */
  readonly label: string;
  /** Called once the sync has begun, with what gives it up. */
  readonly onBegun: (cancel: () => void) => void;
}

const CANCELLED = new CloudMLError({ code: 'cancelled', message: 'Cancelled' });

/**
 * Send the code of a notebook to the machine that it moves to.
 *
 * Large files are asked about, and after a failure whether to go on without. Rejects with the code `cancelled` where the user goes no further.
 */
export async function syncFirst(of: ICodeOf, first: IFirstSync): Promise<void> {
  if (of.machine === LOCAL) {
    return;
  }
  let decision: IDecision = {};
  for (;;) {
    try {
      await sync(of, decision, first);
      return;
    } catch (reason) {
      const error = CloudMLError.from(reason);
      if (error.code === 'not_code') {
        return; // a notebook in the home folder has no project around it
      }
      if (error.code === 'cancelled') {
        throw error;
      }
      if (isQuestion(error)) {
        const answer = await askDecision(error, first.trans);
        if (!answer) {
          throw CANCELLED;
        }
        decision = { ...decision, ...answer };
      } else if (!(await askWithout(error, first))) {
        throw CANCELLED;
      } else {
        return;
      }
    }
  }
}

async function sync(of: ICodeOf, decision: IDecision, first: IFirstSync): Promise<void> {
  const { model, onBegun } = first;
  const { id } = await new CodeClient(model.client).sync(of, false, decision);
  const operation = model.watch(id);
  onBegun(() => void operation.cancel().catch(() => undefined));
  try {
    await operation.ended;
  } finally {
    operation.dispose();
  }
}

/** Ask whether to go on although the code could not be sent. */
async function askWithout(error: CloudMLError, first: IFirstSync): Promise<boolean> {
  const { label, trans } = first;
  const result = await titledDialog<unknown>({
    title: trans.__('The code was not sent to %1', label),
    body: (
      <div className="jp-cloudml-consequences">
        <p>{error.message}</p>
        {error.hint && <p>{error.hint}</p>}
        <p>{trans.__('The kernel would start without it, or with what was sent before.')}</p>
      </div>
    ),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Go on without') })],
    defaultButton: 0
  }).launch();
  return result.button.accept;
}
