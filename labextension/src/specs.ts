import { KernelSpec } from '@jupyterlab/services';

/** The machine that runs kernels without our provisioner: where the Jupyter server itself runs. */
export const LOCAL = 'local';

/** A kernelspec that starts its kernels on one of our machines. */
export interface IMachineSpec {
  readonly name: string;
  readonly title: string;
  readonly machine: string;
}

/** The machine that a kernelspec starts its kernels on; null where it is not one of ours. */
export function specMachine(spec: KernelSpec.ISpecModel | undefined): string | null {
  const provisioner = spec?.metadata?.['kernel_provisioner'];
  if (!isObject(provisioner) || provisioner['provisioner_name'] !== 'cloudml') {
    return null;
  }
  const config = provisioner['config'];
  const machine = isObject(config) ? config['machine'] : undefined;
  return typeof machine === 'string' ? machine : null;
}

/** The kernelspecs of a machine, its own Python first. */
export function machineSpecs(
  specs: KernelSpec.ISpecModels | null,
  machine: string
): ReadonlyArray<IMachineSpec> {
  const found: IMachineSpec[] = [];
  for (const [name, spec] of Object.entries(specs?.kernelspecs ?? {})) {
    if (spec && specMachine(spec) === machine) {
      found.push({ name, title: spec.display_name, machine });
    }
  }
  const own = (spec: IMachineSpec) => (spec.name === `cloudml-${machine}` ? 0 : 1);
  return found.sort((a, b) => own(a) - own(b) || a.title.localeCompare(b.title));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
