import { IKernel, IMachine, KernelState, MachineState, OperationState, IStep } from './types';

const SCHEMAS = 'https://jupyter-cloudml';

/** The schema ids of the events that the server pushes. */
export namespace EventIDs {
  export const machine = `${SCHEMAS}/machine/v1`;
  export const operation = `${SCHEMAS}/operation/v1`;
  export const kernel = `${SCHEMAS}/kernel/v1`;
  export const executions = `${SCHEMAS}/executions/v1`;
  export const workspace = `${SCHEMAS}/workspace/v1`;
  export const drift = `${SCHEMAS}/drift/v1`;
  export const dataset = `${SCHEMAS}/dataset/v1`;
  export const run = `${SCHEMAS}/run/v1`;
  export const runRecords = `${SCHEMAS}/run-records/v1`;
  export const job = `${SCHEMAS}/job/v1`;
}

export interface IMachineEvent {
  readonly name: string;
  readonly state: MachineState;
  readonly version: number;
  readonly step?: IStep | null;
  readonly cause?: string | null;
  readonly removed?: boolean;
}

export interface IKernelEvent {
  readonly id: string;
  readonly machine: string;
  readonly state: KernelState;
  readonly cause?: string | null;
}

export interface IDriftEvent {
  readonly kernel_id: string;
  readonly machine: string;
}

export interface IOperationEvent {
  readonly id: string;
  readonly kind: string;
  readonly target: string;
  readonly state: OperationState;
  readonly step?: IStep | null;
}

/**
 * The machines after an event at `now`, or null where the event is stale or about a machine not listed.
 *
 * An event says less than a snapshot: what it does not carry stays, and the caller asks for the rest.
 */
export function applyMachineEvent(
  machines: ReadonlyArray<IMachine>,
  event: IMachineEvent,
  now: number
): ReadonlyArray<IMachine> | null {
  const held = machines.find(machine => machine.name === event.name);
  if (!held) {
    return null;
  }
  if (event.removed) {
    return machines.filter(machine => machine !== held);
  }
  if (held.version >= event.version) {
    return null;
  }
  const after: IMachine = {
    ...held,
    state: event.state,
    version: event.version,
    step: event.step ?? null,
    cause: event.cause ?? null,
    since_ms: held.state === event.state ? held.since_ms : now
  };
  return machines.map(machine => (machine === held ? after : machine));
}

/** A snapshot, brought up to date with the machines that events touched while it was on its way. */
export function mergeMachines(
  snapshot: ReadonlyArray<IMachine>,
  touched: ReadonlyArray<IMachine>
): ReadonlyArray<IMachine> {
  const newer = new Map(touched.map(machine => [machine.name, machine]));
  return snapshot.map(machine => {
    const mine = newer.get(machine.name);
    return mine && mine.version > machine.version ? mine : machine;
  });
}

/** The kernels after an event at `now`, or null where the kernel is not listed. */
export function applyKernelEvent(
  kernels: ReadonlyArray<IKernel>,
  event: IKernelEvent,
  now: number
): ReadonlyArray<IKernel> | null {
  const held = kernels.find(kernel => kernel.id === event.id);
  if (!held) {
    return null;
  }
  const after: IKernel = {
    ...held,
    machine: event.machine,
    state: event.state,
    cause: event.cause ?? null,
    since_ms: held.state === event.state ? held.since_ms : now
  };
  return kernels.map(kernel => (kernel === held ? after : kernel));
}
