import { JSONObject } from '@lumino/coreutils';

/** What the REST API and the events carry. Names are the server's; times are UTC epoch ms, sizes are bytes. */

export type MachineState = 'stopped' | 'starting' | 'running' | 'unreachable' | 'stopping' | 'gone';

/** One named step of something that takes a while: the n-th of `of`. */
export interface IStep {
  readonly n: number;
  readonly of: number;
  readonly text: string;
  readonly since_ms?: number;
}

/** A failure as the server tells it: `message` names object and cause, `hint` the next action. */
export interface IErrorBody {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface IGpu {
  readonly name: string;
  readonly memory_total: number | null;
}

export interface IMachineInfo {
  readonly cpus?: number | null;
  readonly memory_bytes?: number | null;
  readonly gpus?: ReadonlyArray<IGpu>;
  readonly hostname?: string;
  readonly platform?: string;
}

export interface IMachine {
  readonly name: string;
  readonly provider: string;
  readonly label: string;
  readonly state: MachineState;
  readonly step: IStep | null;
  readonly since_ms: number;
  readonly cause: string | null;
  readonly next_action: string | null;
  readonly error: IErrorBody | null;
  readonly address: string | null;
  readonly carrier: string | null;
  readonly python: string | null;
  readonly info: IMachineInfo | null;
  readonly kernels: number;
  readonly version: number;
  /** Seconds after which an idle kernel ends; null is never. */
  readonly cull_idle_s: number | null;
  /** Kernels that are kept started and waiting. */
  readonly prewarm: number;
}

/** What a user may change of a machine. */
export type MachineChange = Pick<IMachine, 'label' | 'cull_idle_s' | 'prewarm'>;

export type KernelState = 'connected' | 'reconnecting' | 'starting' | 'ended';

/** How a process ended. */
export interface IExit {
  readonly code: number | null;
  readonly signal: number | string | null;
  /** Whether somebody asked for it. */
  readonly asked?: boolean;
  readonly oom?: boolean;
  readonly peak_bytes?: number | null;
  readonly ended_ms?: number | null;
  readonly reason?: string | null;
}

/** A kernel that our provisioner started. */
export interface IKernel {
  readonly id: string;
  readonly machine: string;
  readonly process: string | null;
  readonly spec: string | null;
  readonly path: string | null;
  readonly state: KernelState;
  readonly since_ms: number;
  readonly cause: string | null;
  readonly exit: IExit | null;
  /** Which code its machine had when it started; null where none was known. */
  readonly code?: IStartedWith | null;
}

/** Which code a kernel was started with. */
export interface IStartedWith {
  readonly branch?: string | null;
  readonly base_commit?: string | null;
  readonly diffstat?: { readonly files?: number } | null;
}

export type OperationState = 'running' | 'done' | 'failed' | 'cancelled';

/** Slow work that the server does for us. */
export interface IOperation {
  readonly id: string;
  readonly kind: string;
  readonly target: string;
  /** What was asked for, where the target does not say it. */
  readonly about: Readonly<Record<string, unknown>> | null;
  readonly state: OperationState;
  readonly step: IStep | null;
  readonly log: ReadonlyArray<string>;
  readonly result: unknown;
  readonly error: IErrorBody | null;
}

/** One step of a machine's diagnosis. */
export interface ICheckStep {
  readonly step: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly hint?: string | null;
  readonly ms?: number | null;
}

export interface IGpuGauge {
  readonly name: string;
  readonly memory_used: number | null;
  readonly memory_total: number | null;
  readonly percent: number | null;
}

export interface IMachineGauges {
  readonly cpu_percent: number | null;
  readonly memory_used: number | null;
  readonly memory_total: number | null;
  readonly disk_free?: number | null;
  readonly gpus: ReadonlyArray<IGpuGauge>;
}

export interface IProcessGauges {
  readonly cpu_percent: number | null;
  readonly memory_used: number | null;
  readonly gpu_memory_used: number | null;
}

/** A process that a machine keeps. */
export interface IProcess {
  readonly id: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** A host found in the user's SSH configuration. */
export interface ISuggestion {
  readonly name: string;
  readonly host: string;
  readonly user: string | null;
  readonly port: number | null;
  readonly identity: string | null;
  readonly source: string;
}

/** An environment that comes with the project; it is built as `image:<name>`. */
export interface IImage {
  readonly name: string;
  readonly title: string;
}

/** What an environment is to be built from: a source, or `same` as the server's Python. */
export interface IBuild {
  readonly source?: string;
  /** An image for the container engine of the machine. */
  readonly image?: string;
  readonly same?: boolean;
  /** With `same`: the kernelspec here whose Python is meant. */
  readonly spec?: string;
  readonly name?: string;
}

/** What came of a build. */
export interface IBuilt {
  readonly machine: string;
  readonly name: string;
  readonly key: string;
  readonly python_path: string;
}

/** An environment on a machine; one without a name is the one that was made by itself. */
export interface IEnvironment extends Pick<IBuilt, 'key' | 'python_path'> {
  readonly names: ReadonlyArray<string>;
  readonly source: string;
  readonly python: string;
  readonly packages: number;
  readonly bytes: number;
  readonly built_ms: number | null;
  readonly used_ms: number;
  readonly in_use: boolean;
}

/** A file that an environment can be built from. */
export interface IFoundSource {
  readonly source: string;
  readonly kind: string;
  readonly name: string;
}

/** One package, or Python itself, at two versions; null where it is missing. */
export interface IDifference {
  readonly name: string;
  readonly here: string | null;
  readonly there: string | null;
  readonly level: 'error' | 'note';
}

/** How an environment on a machine compares with the server's Python. */
export interface IDrift {
  readonly machine: string;
  readonly errors: number;
  readonly differences: ReadonlyArray<IDifference>;
  /** What is not as it was locked. */
  readonly changed: ReadonlyArray<IDifference>;
  readonly locked: boolean;
  /** The Python here; `spec` is the kernel that is meant, null is the server. */
  readonly against: { readonly python: string; readonly spec: string | null };
}

/** A JSON schema of the body of POST machines, and hints for showing it as a form. */
export interface IMachineForm {
  readonly schema: JSONObject;
  readonly uiSchema: JSONObject;
}

/** What the form of "Add machine over SSH" sends. */
export interface ISSHMachine {
  readonly name: string;
  readonly host: string;
  readonly user?: string;
  readonly port?: number;
  readonly identity?: string;
  readonly host_key?: string;
  readonly python?: string;
  readonly carrier?: string;
}

/** The host key that a person has to compare before the first connection. */
export interface IHostKey {
  readonly host: string;
  readonly port: number;
  readonly keytype: string;
  readonly fingerprint: string;
}
