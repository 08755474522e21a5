import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ITranslator, TranslationBundle, nullTranslator } from '@jupyterlab/translation';

import { showFailure } from '../commands';
import { jobIcon } from '../icons';
import { CommandIDs, DOMAIN, ICloudML, ICurrentNotebook, IJobs } from '../tokens';
import { sandboxed } from './files';
import { JobsModel } from './model';
import { RunPage } from './run_page';
import { IRunDetail } from './types';
import { IStarter, runNotebook, runSelected } from './start';
import { fileName } from './words';

const NO_ARGS = { args: { type: 'object', properties: {} } };

export const jobsPlugin: JupyterFrontEndPlugin<IJobs> = {
  id: 'jupyter-cloudml:jobs',
  description: 'Provides the jobs and runs that the server extension knows.',
  autoStart: true,
  provides: IJobs,
  requires: [ICloudML],
  activate: (app: JupyterFrontEnd, model: ICloudML) =>
    new JobsModel(model, app.serviceManager.events)
};

export const runPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:run',
  description: 'Runs notebooks and cells as jobs, and shows runs.',
  autoStart: true,
  requires: [ICloudML, IJobs, IRenderMimeRegistry],
  optional: [ICurrentNotebook, ILayoutRestorer, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    jobs: IJobs,
    rendermime: IRenderMimeRegistry,
    notebook: ICurrentNotebook | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    addRunPage(app, { model, jobs, rendermime, restorer, trans });
    if (notebook) {
      addStart(app, palette, { jobs, model, notebook, commands: app.commands, trans });
    }
  }
};

interface IPageOptions {
  readonly model: ICloudML;
  readonly jobs: IJobs;
  readonly rendermime: IRenderMimeRegistry;
  readonly restorer: ILayoutRestorer | null;
  readonly trans: TranslationBundle;
}

/** Show one run, in the main area. */
function addRunPage(app: JupyterFrontEnd, options: IPageOptions): void {
  const { model, jobs, rendermime, restorer, trans } = options;
  const { commands, shell } = app;
  const tracker = new WidgetTracker<MainAreaWidget<RunPage>>({ namespace: 'cloudml-run' });
  void restorer?.restore(tracker, {
    command: CommandIDs.showRun,
    args: widget => ({ id: widget.content.runId }),
    name: widget => widget.content.runId
  });
  const showHtml = (html: string, run: IRunDetail) => {
    const title = fileName(run.provenance.notebook) || run.job;
    const id = `jp-cloudml-html-${run.id}`;
    // Said again, the page is made anew: two of one id cannot be told apart.
    [...shell.widgets('main')].find(each => each.id === id)?.dispose();
    const widget = sandboxed(html, id, trans.__('Page of %1', title));
    shell.add(widget, 'main');
    shell.activateById(widget.id);
  };
  commands.addCommand(CommandIDs.showRun, {
    label: trans.__('Show Run'),
    caption: trans.__('Show a run of a job'),
    describedBy: {
      args: {
        type: 'object',
        properties: { id: { type: 'string', description: 'The id of the run' } },
        required: ['id']
      }
    },
    execute: async args => {
      const run = String(args['id']);
      const id = `jp-cloudml-run-${run}`;
      let widget = tracker.find(each => each.id === id);
      if (widget) {
        widget.content.refresh();
      } else {
        const content = new RunPage({
          id: run,
          jobs,
          model,
          commands,
          rendermime,
          trans,
          showHtml
        });
        content.title.label = trans.__('Run');
        widget = new MainAreaWidget({ content });
        widget.id = id;
        widget.title.icon = jobIcon;
        widget.title.closable = true;
        widget.toolbar.hide();
        shell.add(widget, 'main');
        await tracker.add(widget);
      }
      shell.activateById(id);
    }
  });
}

/** Run the notebook in front, or some of its cells. */
function addStart(app: JupyterFrontEnd, palette: ICommandPalette | null, starter: IStarter): void {
  const { notebook, trans } = starter;
  const { commands } = app;
  const isEnabled = () => notebook.panel !== null;
  commands.addCommand(CommandIDs.runAsJob, {
    label: trans.__('Run as Job…'),
    caption: trans.__('Run this notebook as a job'),
    icon: jobIcon,
    describedBy: NO_ARGS,
    isEnabled,
    execute: async () => {
      if (notebook.panel) {
        await runNotebook(notebook.panel, starter).catch(showFailure);
      }
    }
  });
  commands.addCommand(CommandIDs.runSelectedAsJob, {
    label: trans.__('Run Selected Cells as Job…'),
    caption: trans.__('Run the selected cells as a job, with the cells before them that they need'),
    describedBy: NO_ARGS,
    isEnabled,
    execute: async () => {
      if (notebook.panel) {
        await runSelected(notebook.panel, starter).catch(showFailure);
      }
    }
  });
  notebook.changed.connect(() => {
    commands.notifyCommandChanged(CommandIDs.runAsJob);
    commands.notifyCommandChanged(CommandIDs.runSelectedAsJob);
  });
  for (const command of [CommandIDs.runAsJob, CommandIDs.runSelectedAsJob]) {
    palette?.addItem({ command, category: trans.__('CloudML') });
  }
}
