import { CommandIDs } from './tokens';
import { IMachine } from './types';

/** What Enter does on a machine's row: the step that leads on; null where there is none. */
export function primaryAction(machine: IMachine): string | null {
  switch (machine.state) {
    case 'running':
      return CommandIDs.openNotebook;
    case 'stopped':
      return CommandIDs.startMachine;
    case 'unreachable':
      return CommandIDs.retryMachine;
    default:
      return null;
  }
}

/** Whether a command makes sense for a machine as it is now. */
export function applies(command: string, machine: IMachine): boolean {
  switch (command) {
    case CommandIDs.startMachine:
      return machine.state === 'stopped';
    case CommandIDs.stopMachine:
      return machine.provider !== 'local' && ['running', 'starting'].includes(machine.state);
    case CommandIDs.retryMachine:
      return machine.state === 'unreachable';
    case CommandIDs.removeMachine:
      return machine.provider !== 'local';
    case CommandIDs.copyAddress:
      return Boolean(machine.address);
    case CommandIDs.buildEnvironment:
    case CommandIDs.showEnvironments:
    case CommandIDs.showDatasets:
      return machine.state === 'running';
    case CommandIDs.openNotebook:
      return machine.state === 'running' || machine.state === 'stopped';
    default:
      return true;
  }
}

/** The commands of a row's menu, in order; null is a separator. */
export const ROW_MENU: ReadonlyArray<string | null> = [
  CommandIDs.openNotebook,
  null,
  CommandIDs.startMachine,
  CommandIDs.stopMachine,
  CommandIDs.retryMachine,
  CommandIDs.checkMachine,
  null,
  CommandIDs.buildEnvironment,
  CommandIDs.showEnvironments,
  CommandIDs.showDatasets,
  CommandIDs.changeMachine,
  CommandIDs.copyAddress,
  CommandIDs.removeMachine
];
