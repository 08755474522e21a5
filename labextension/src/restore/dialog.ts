import { Dialog } from '@jupyterlab/apputils';
import { OutputAreaModel, SimplifiedOutputArea } from '@jupyterlab/outputarea';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { TranslationBundle } from '@jupyterlab/translation';
import { Panel, Widget } from '@lumino/widgets';

import { fold } from './fold';
import { IExecution } from './types';

export interface IStaleDialogOptions {
  readonly executions: ReadonlyArray<IExecution>;
  readonly rendermime: IRenderMimeRegistry;
  readonly trans: TranslationBundle;
  /** Put code and output into the cell; null where that cannot be. */
  readonly restore: ((execution: IExecution) => void) | null;
  /** Let the recorder forget the outputs. */
  readonly discard: (execution: IExecution) => void;
}

/** Show what was left out of a notebook: code and outputs, untrusted and read-only. */
export async function showStale(options: IStaleDialogOptions): Promise<void> {
  const { executions, trans } = options;
  const body = new Panel();
  body.addClass('jp-CloudML-stale');
  const dialog = new Dialog<void>({
    title: trans.__('Outputs that were not put into the notebook'),
    body,
    buttons: [Dialog.cancelButton({ label: trans.__('Close') })],
    hasClose: true
  });
  if (executions.length === 0) {
    body.addWidget(text('p', trans.__('There are none any more.')));
  }
  executions.forEach((execution, index) => {
    const item = staleItem(execution, index + 1, options);
    item.disposed.connect(() => {
      if (body.widgets.every(widget => widget === item || widget.isDisposed)) {
        dialog.reject();
      }
    });
    body.addWidget(item);
  });
  await dialog.launch();
}

function staleItem(execution: IExecution, index: number, options: IStaleDialogOptions): Widget {
  const { trans, rendermime, restore, discard } = options;
  const item = new Panel();
  item.node.setAttribute('role', 'group');
  item.node.setAttribute('aria-label', trans.__('Outputs %1', index));
  item.addClass('jp-CloudML-stale-item');
  item.addWidget(text('pre', execution.code));
  item.addWidget(
    new SimplifiedOutputArea({
      model: new OutputAreaModel({ values: fold(execution), trusted: false }),
      rendermime
    })
  );
  const buttons = new Panel();
  buttons.addClass('jp-CloudML-stale-buttons');
  const add = (label: string, act: (execution: IExecution) => void): void => {
    buttons.addWidget(
      button(label, () => {
        act(execution);
        item.dispose();
      })
    );
  };
  add(trans.__('Discard these outputs'), discard);
  if (restore) {
    add(trans.__('Restore this code and output'), restore);
  }
  item.addWidget(buttons);
  return item;
}

function text(tag: 'p' | 'pre', content: string): Widget {
  const node = document.createElement(tag);
  node.textContent = content;
  return new Widget({ node });
}

function button(label: string, onClick: () => void): Widget {
  const node = document.createElement('button');
  node.className = 'jp-Button jp-mod-styled jp-mod-accept';
  node.textContent = label;
  node.addEventListener('click', onClick);
  return new Widget({ node });
}
