import { KernelSpec } from '@jupyterlab/services';

import { machineSpecs } from '../specs';
import { IMachine } from '../types';

/** One line of the picker: a machine with one of its kernelspecs, or null to add a machine. */
export interface IOption {
  readonly key: string;
  readonly machine: IMachine | null;
  readonly spec: string;
  readonly title: string;
}

export type GroupName = 'running' | 'other' | 'add';

export interface IGroup {
  readonly name: GroupName;
  readonly options: ReadonlyArray<IOption>;
}

const ADD: IOption = { key: 'add', machine: null, spec: '', title: '' };

/** A machine's lines: one for each kernelspec; one without a title where none is known yet. */
function optionsOf(machine: IMachine, specs: KernelSpec.ISpecModels | null): IOption[] {
  const found = machineSpecs(specs, machine.name);
  return found.map(spec => ({
    key: `${machine.name}/${spec.name}`,
    machine,
    spec: spec.name,
    title: spec.title
  }));
}

function matches(option: IOption, filter: string): boolean {
  const machine = option.machine;
  const text = `${machine?.label} ${machine?.name} ${machine?.address ?? ''} ${option.title}`;
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every(word => text.toLowerCase().includes(word));
}

/** What the picker shows for a filter: running machines, the others, and the way to add one. */
export function groupOptions(
  machines: ReadonlyArray<IMachine>,
  specs: KernelSpec.ISpecModels | null,
  filter: string
): ReadonlyArray<IGroup> {
  const running: IOption[] = [];
  const other: IOption[] = [];
  for (const machine of machines) {
    const into = machine.state === 'running' ? running : other;
    into.push(...optionsOf(machine, specs).filter(option => matches(option, filter.trim())));
  }
  const groups: IGroup[] = [
    { name: 'running', options: running },
    { name: 'other', options: other },
    { name: 'add', options: [ADD] }
  ];
  return groups.filter(group => group.options.length > 0);
}
