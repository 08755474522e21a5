import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { JSONObject, UUID } from '@lumino/coreutils';

import { jobIcon } from '../icons';
import { CommandIDs, DOMAIN, ICloudML, IJobs } from '../tokens';
import { EditPage } from './edit_page';
import { JobPage } from './job_page';
import { JobsPage } from './list_page';

const NAME = {
  args: {
    type: 'object',
    properties: { name: { type: 'string', description: 'The name of the job' } },
    required: ['name']
  }
};

export const jobPagesPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:job-pages',
  description: 'Lists jobs, shows one, and makes and changes them.',
  autoStart: true,
  requires: [ICloudML, IJobs],
  optional: [ILayoutRestorer, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    jobs: IJobs,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const { commands, shell } = app;
    const common = { jobs, model, commands, trans };
    const show = async <T extends ReactWidget>(
      tracker: WidgetTracker<MainAreaWidget<T>>,
      id: string,
      title: string,
      make: () => T,
      again: (content: T) => void
    ) => {
      let widget = tracker.find(each => each.id === id);
      if (widget) {
        again(widget.content);
      } else {
        widget = new MainAreaWidget({ content: make() });
        widget.id = id;
        widget.title.label = title;
        widget.title.icon = jobIcon;
        widget.title.closable = true;
        widget.toolbar.hide();
        shell.add(widget, 'main');
        await tracker.add(widget);
      }
      shell.activateById(id);
    };

    const lists = new WidgetTracker<MainAreaWidget<JobsPage>>({ namespace: 'cloudml-jobs' });
    void restorer?.restore(lists, { command: CommandIDs.showJobs, name: () => 'jobs' });
    commands.addCommand(CommandIDs.showJobs, {
      label: trans.__('Show Jobs'),
      caption: trans.__('Show notebooks that run by themselves'),
      icon: jobIcon,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () =>
        show(
          lists,
          'jp-cloudml-jobs',
          trans.__('Jobs'),
          () => new JobsPage(common),
          page => page.refresh()
        )
    });

    const pages = new WidgetTracker<MainAreaWidget<JobPage>>({ namespace: 'cloudml-job' });
    void restorer?.restore(pages, {
      command: CommandIDs.showJob,
      args: widget => ({ name: widget.content.jobName }),
      name: widget => widget.content.jobName
    });
    commands.addCommand(CommandIDs.showJob, {
      label: trans.__('Show Job'),
      describedBy: NAME,
      execute: args => {
        const name = String(args['name']);
        return show(
          pages,
          `jp-cloudml-job-${name}`,
          name,
          () => new JobPage({ ...common, name }),
          page => page.refresh()
        );
      }
    });

    const forms = new WidgetTracker<MainAreaWidget<EditPage>>({ namespace: 'cloudml-job-form' });
    commands.addCommand(CommandIDs.newJob, {
      label: args => (args['name'] ? trans.__('Change Job') : trans.__('New Job…')),
      caption: trans.__('Make a job: a notebook that runs at times, or after another one'),
      icon: jobIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: {
            name: { type: 'string', description: 'The job to change; a new one without it' },
            definition: { type: 'object', description: 'What a new one begins with' }
          }
        }
      },
      execute: args => {
        const name = typeof args['name'] === 'string' ? args['name'] : null;
        const definition = (args['definition'] ?? {}) as JSONObject;
        return show(
          forms,
          `jp-cloudml-job-form-${name ?? UUID.uuid4()}`,
          name === null ? trans.__('New job') : trans.__('Change %1', name),
          () => new EditPage({ ...common, name, definition }),
          () => undefined
        );
      }
    });
    for (const command of [CommandIDs.showJobs, CommandIDs.newJob]) {
      palette?.addItem({ command, category: trans.__('CloudML') });
    }
  }
};
