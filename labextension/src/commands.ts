import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, ICommandPalette, InputDialog, Notification } from '@jupyterlab/apputils';
import { ITranslator, TranslationBundle, nullTranslator } from '@jupyterlab/translation';
import { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { applies } from './actions';
import { CloudMLError } from './api';
import { cloneCode } from './code/clone';
import { connectMachine } from './connect';
import { askRemove, askStop } from './ends';
import { askPolicies } from './policies';
import { machineSpecs } from './specs';
import { CommandIDs, DOMAIN, ICloudML } from './tokens';
import { errorText } from './text';
import { IMachine } from './types';

/** What commands about one machine take. */
export const MACHINE_ARGS = {
  type: 'object',
  properties: {
    name: { type: 'string', description: 'The name of the machine; asked for where it is missing' }
  }
};

/** The operations that bring a machine up. */
const STARTS: ReadonlyArray<string> = ['add', 'start', 'retry'];

/** The machine that `args` names, or that the user picks among those the command applies to. */
export async function chosenMachine(
  command: string,
  args: ReadonlyPartialJSONObject,
  model: ICloudML,
  trans: TranslationBundle
): Promise<IMachine | null> {
  if (typeof args['name'] === 'string') {
    return model.machine(args['name']);
  }
  const machines = (model.machines ?? []).filter(machine => applies(command, machine));
  if (machines.length === 0) {
    Notification.info(trans.__('There is no machine to do this with.'), { autoClose: 4000 });
    return null;
  }
  const items = machines.map(machine => machine.label);
  const answer = await InputDialog.getItem({ title: trans.__('Which machine?'), items });
  const index = answer.button.accept && answer.value !== null ? items.indexOf(answer.value) : -1;
  return machines[index] ?? null;
}

/** Show a failure with its remedy; details are in the machine's check. */
export function showFailure(reason: unknown): void {
  Notification.error(errorText(CloudMLError.from(reason)), { autoClose: 10_000 });
}

export const commandsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-cloudml:commands',
  description: 'Commands that act on a machine.',
  autoStart: true,
  requires: [ICloudML],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICloudML,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);

    const add = (
      id: string,
      labels: { short: string; long: string },
      act: (machine: IMachine) => Promise<unknown>
    ) => {
      app.commands.addCommand(id, {
        label: args => (args['name'] ? labels.short : labels.long),
        describedBy: { args: MACHINE_ARGS },
        isEnabled: args => {
          const machine = typeof args['name'] === 'string' ? model.machine(args['name']) : null;
          return machine ? applies(id, machine) : !args['name'];
        },
        isVisible: args => {
          const machine = typeof args['name'] === 'string' ? model.machine(args['name']) : null;
          return machine ? applies(id, machine) : !args['name'];
        },
        execute: async args => {
          const machine = await chosenMachine(id, args, model, trans);
          if (machine) {
            await act(machine).catch(showFailure);
          }
        }
      });
      palette?.addItem({ command: id, category: trans.__('CloudML') });
    };

    add(
      CommandIDs.startMachine,
      { short: trans.__('Connect'), long: trans.__('Connect to Machine…') },
      machine => model.client.act(machine.name, 'start')
    );
    add(
      CommandIDs.stopMachine,
      { short: trans.__('Stop…'), long: trans.__('Stop Machine…') },
      machine => askStop(machine, model, trans)
    );
    add(
      CommandIDs.retryMachine,
      { short: trans.__('Retry now'), long: trans.__('Retry Machine…') },
      machine => model.client.act(machine.name, 'retry')
    );
    add(
      CommandIDs.removeMachine,
      { short: trans.__('Remove…'), long: trans.__('Remove Machine…') },
      machine => askRemove(machine, model, trans)
    );
    add(
      CommandIDs.changeMachine,
      { short: trans.__('Settings…'), long: trans.__('Change Settings of a Machine…') },
      machine => askPolicies(machine, model, trans)
    );
    add(
      CommandIDs.openNotebook,
      { short: trans.__('Open a notebook here'), long: trans.__('Open a Notebook on a Machine…') },
      async machine => {
        await connectMachine(machine.name, model);
        const spec = machineSpecs(model.specs.specs, machine.name)[0];
        const kernelName = spec?.name ?? `cloudml-${machine.name}`;
        await app.commands.execute('notebook:create-new', { kernelName });
      }
    );
    add(
      CommandIDs.copyAddress,
      { short: trans.__('Copy address'), long: trans.__('Copy the Address of a Machine…') },
      async machine => Clipboard.copyToSystem(machine.address ?? '')
    );

    app.commands.addCommand(CommandIDs.cloneCode, {
      label: trans.__('Clone a Git Repository…'),
      caption: trans.__('Clone a branch, tag or commit here, and send it to a machine'),
      describedBy: {
        args: {
          type: 'object',
          properties: { path: { type: 'string', description: 'The folder to clone into' } }
        }
      },
      execute: args => cloneCode(String(args['path'] ?? ''), model, trans)
    });
    palette?.addItem({ command: CommandIDs.cloneCode, category: trans.__('CloudML') });
    app.commands.addCommand(CommandIDs.cancelStart, {
      label: trans.__('Cancel'),
      describedBy: { args: MACHINE_ARGS },
      execute: args => cancelStart(String(args['name']), model, trans).catch(showFailure)
    });
    app.commands.addCommand(CommandIDs.refresh, {
      label: trans.__('Refresh Machines'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => model.refresh()
    });
    palette?.addItem({ command: CommandIDs.refresh, category: trans.__('CloudML') });
  }
};

/** Cancel what brings a machine up, whoever asked for it; one that connects by itself can only be stopped. */
async function cancelStart(name: string, model: ICloudML, trans: TranslationBundle): Promise<void> {
  const operations = await model.client.listOperations();
  const running = operations.filter(
    each => each.target === name && each.state === 'running' && STARTS.includes(each.kind)
  );
  const machine = model.machine(name);
  if (running.length === 0 && machine) {
    await askStop(machine, model, trans);
  }
  await Promise.all(running.map(each => model.client.cancelOperation(each.id)));
}
