import { Dialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { UUID } from '@lumino/coreutils';

import { Act } from '../buttons';
import { titledDialog } from '../dialogs';
import { CommandIDs } from '../tokens';
import { JobsModel } from './model';
import { IJob } from './types';

export interface IActOptions {
  readonly jobs: JobsModel;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
}

/** What can be done with a job; `gone` is called when it was deleted. */
export function actsOf(job: IJob, options: IActOptions, gone: () => void): Act[] {
  const { commands, jobs, trans } = options;
  const { name, paused } = job;
  const run = async () => {
    const made = await jobs.client.runJob(name, UUID.uuid4());
    await commands.execute(CommandIDs.showRun, { id: made.id });
  };
  return [
    [trans.__('Run now'), trans.__('Run %1 now', name), run],
    paused
      ? [
          trans.__('Resume'),
          trans.__('Have %1 run at its times again', name),
          () => jobs.client.pause(name, false)
        ]
      : [
          trans.__('Pause'),
          trans.__('Have the times of %1 skipped', name),
          () => jobs.client.pause(name, true)
        ],
    [
      trans.__('Edit…'),
      trans.__('Change the definition of %1', name),
      () => commands.execute(CommandIDs.newJob, { name })
    ],
    [
      trans.__('Delete…'),
      trans.__('Delete %1', name),
      async () => {
        if (await askDelete(name, trans)) {
          await jobs.client.remove(name);
          gone();
        }
      }
    ]
  ];
}

async function askDelete(name: string, trans: TranslationBundle): Promise<boolean> {
  const result = await titledDialog<unknown>({
    title: trans.__('Delete %1?', name),
    body: trans.__('Its runs that go on are ended. What ran stays on record; the notebook stays.'),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Delete') })],
    defaultButton: 0
  }).launch();
  return result.button.accept;
}
