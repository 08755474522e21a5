import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISessionContext, Notification } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { LOCAL, specMachine } from '../specs';
import { CommandIDs, DOMAIN, ICloudML, IDrift, ICurrentNotebook } from '../tokens';
import { makeEqual } from './equal';
import { DriftModel, errorsOf } from './model';
import { Runs } from './runs';
import { errorsText } from './text';
import { IKernelDrift } from './types';

export const driftPlugin: JupyterFrontEndPlugin<IDrift> = {
  id: 'jupyter-cloudml:drift',
  description:
    'Says which packages of a kernel on a machine do not fit those here, and makes them equal.',
  autoStart: true,
  provides: IDrift,
  requires: [ICloudML, INotebookTracker, ICurrentNotebook],
  optional: [ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    notebooks: INotebookTracker,
    current: ICurrentNotebook,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const drift = new DriftModel(model);
    const services = app.serviceManager;
    const runs = new Runs(notebooks);
    const here = (name: string | undefined) => {
      const machine = name ? specMachine(model.specs.specs?.kernelspecs[name]) : null;
      return machine === null || machine === LOCAL;
    };

    notebooks.widgetAdded.connect((_, panel) => {
      panel.sessionContext.kernelChanged.connect((_context: ISessionContext, change) => {
        const { oldValue, newValue } = change;
        if (oldValue && newValue && here(oldValue.name) && !here(newValue.name)) {
          void drift.noteBefore(newValue.id, oldValue.name);
        }
      });
    });

    // Of many notebooks with the same trouble on one machine one is told; each shows it in the panel.
    const told = new Set<string>();
    const shown = new Map<string, string>();
    const takeBack = (kernelId: string) => {
      Notification.dismiss(shown.get(kernelId) ?? '');
      shown.delete(kernelId);
    };
    model.kernelEnded.connect((_, kernel) => takeBack(kernel.id));
    drift.changed.connect((_, value) => {
      if (value.dismissed) {
        takeBack(value.kernel_id);
      }
      const errors = errorsOf(value);
      const panel = notebooks.find(each => kernelIn(each) === value.kernel_id);
      const which = `${value.machine} ${errors.map(each => `${each.name}=${each.there}`).join()}`;
      if (!panel || errors.length === 0 || value.dismissed || told.has(which)) {
        return;
      }
      told.add(which);
      const name = PathExt.basename(panel.context.path);
      const label = model.machine(value.machine)?.label ?? value.machine;
      const text = errorsText(trans, errors, label);
      const notice = Notification.warning(trans.__('%1: packages do not fit. %2.', name, text), {
        autoClose: false,
        actions: [
          {
            label: trans.__('Make equal'),
            caption: trans.__(
              'Build the packages here on %1, and start the kernel anew in them',
              label
            ),
            callback: () => void equal(panel, value)
          },
          {
            label: trans.__('Ignore'),
            caption: trans.__('Say no more of this for this notebook'),
            callback: () => void drift.dismiss(value.kernel_id)
          }
        ]
      });
      shown.set(value.kernel_id, notice);
    });

    const equal = async (panel: NotebookPanel, value: IKernelDrift): Promise<void> => {
      takeBack(value.kernel_id);
      if (!panel.isDisposed) {
        await makeEqual(panel, value, { hasRun: runs.hasRun(panel), model, services, trans });
      }
    };

    app.commands.addCommand(CommandIDs.makeEqual, {
      label: trans.__('Make Packages Equal'),
      caption: trans.__(
        'Build the packages here on the machine of this notebook, and move into them'
      ),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => errorsOf(drift.get(current.place?.value.kernelId ?? null)).length > 0,
      execute: async () => {
        const panel = current.panel;
        const value = drift.get(current.place?.value.kernelId ?? null);
        if (panel && value) {
          await equal(panel, value);
        }
      }
    });
    return drift;
  }
};

function kernelIn(panel: NotebookPanel): string | undefined {
  return panel.sessionContext.session?.kernel?.id;
}
