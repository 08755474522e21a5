import { IOutput } from '@jupyterlab/nbformat';
import { JSONObject, JSONValue } from '@lumino/coreutils';

/** What the REST API says about jobs and runs. Names are the server's; times are UTC epoch ms. */

export type RunState =
  | 'scheduled'
  | 'queued'
  | 'claimed'
  | 'provisioning'
  | 'running'
  | 'lost'
  | 'retry_wait'
  | 'succeeded'
  | 'failed'
  | 'timed_out'
  | 'cancelled'
  | 'skipped';

/** A run as it is listed. */
export interface IRun {
  readonly id: string;
  /** The name of its job. */
  readonly job: string;
  readonly job_rev?: number;
  readonly state: RunState;
  readonly reason: string | null;
  readonly due_ms: number;
  readonly created_ms: number;
  readonly started_ms: number | null;
  readonly ended_ms: number | null;
  readonly machine?: string | null;
  readonly parameters?: JSONObject;
  readonly trigger?: string | null;
  readonly parent_run_id?: string | null;
  readonly cancel_requested?: boolean;
  readonly notebook?: string | null;
  /** How many runs a sweep has; of another run it is null. */
  readonly sweep_count?: number | null;
  /** The place of a run in the sweep `parent_run_id`. */
  readonly sweep_index?: number | null;
}

/** One run of a sweep, with the parameters that it does not share with the others. */
export interface IChild {
  readonly run: string;
  readonly index: number;
  readonly parameters: JSONObject;
  readonly state: RunState;
  readonly reason: string | null;
  /** What its notebook told as results. */
  readonly result: JSONObject | null;
}

export interface IAttempt {
  readonly n: number;
  readonly state: string;
  readonly machine: string;
  readonly exit: JSONObject | null;
  readonly started_ms: number | null;
  readonly ended_ms: number | null;
  readonly cost?: number | null;
}

/** A file that was made of a run. */
export interface IArtifact {
  readonly kind: string;
  readonly attempt: number;
  readonly bytes: number | null;
  readonly sha256: string | null;
}

/** Files that a run has written into its copy of the code; `left` did not come back, nor did `more` besides. */
export interface IWritten {
  readonly files: ReadonlyArray<{
    readonly path: string;
    readonly bytes: number;
    readonly new: boolean;
  }>;
  readonly left: ReadonlyArray<{ readonly path: string }>;
  readonly more: number;
}

/** Somebody who is told of the end of a run. */
export interface INotice {
  readonly to: string;
  readonly about: string;
  readonly state: string;
  readonly tries: number;
  readonly error: string | null;
  readonly sent_ms: number | null;
}

/** The packages beside the kernel of a run; `lock_sha256` of an environment that was built from a lock. */
export interface IPackages {
  readonly python?: string;
  readonly key?: string | null;
  readonly lock_sha256?: string | null;
  readonly packages?: ReadonlyArray<string>;
  readonly packages_sha256?: string;
}

/** Data that a notebook has asked for. */
export interface IData {
  readonly source: string;
  readonly folder?: string;
  readonly state?: string | null;
  readonly total_files?: number | null;
  readonly total_bytes?: number | null;
}

/** Where the code of a run came from. */
export interface ICode {
  readonly url?: string | null;
  readonly branch?: string | null;
  readonly base_commit?: string | null;
  readonly commit?: string | null;
  readonly dirty?: boolean | null;
}

export interface IProvenance {
  readonly job: string | null;
  readonly job_rev: number;
  readonly notebook: string | null;
  readonly notebook_sha256: string | null;
  readonly code: ICode | null;
  readonly machine: string;
  readonly environment: string | null;
  readonly kernel: { readonly argv?: ReadonlyArray<string> } | null;
  readonly params: JSONObject;
  readonly secrets: ReadonlyArray<string>;
  /** What its trigger has found: `kind`, and what that kind tells. */
  readonly trigger?: JSONObject | null;
  readonly packages?: IPackages | null;
  readonly data?: ReadonlyArray<IData>;
}

/** All that is known of a run. */
export interface IRunDetail extends Omit<IRun, 'attempts'> {
  readonly attempts: ReadonlyArray<IAttempt>;
  readonly provenance: IProvenance;
  readonly cost: number | null;
  readonly artifacts?: ReadonlyArray<IArtifact>;
  readonly files?: IWritten | null;
  readonly notices?: ReadonlyArray<INotice>;
  /** The run that it runs again. */
  readonly retry_of?: string | null;
  /** The runs of a sweep, in its order. */
  readonly children?: ReadonlyArray<IChild>;
  /** The kernel that a failed run has left, to look into and to go on in. */
  readonly kept?: { readonly until_ms: number; readonly cell: number | null } | null;
  /** Of a failed run, from where `from_failed` would run it, and why. */
  readonly from_failed?: string | null;
  /** From which cell of which run it has gone on, or why it has not. */
  readonly resumed?: {
    readonly of: string;
    readonly at: number;
    readonly why: string | null;
  } | null;
}

/** One thing that a run said; `record` names its kind. */
export interface IRecord {
  readonly record: string;
  readonly index?: number;
  readonly state?: string;
  readonly status?: string;
  readonly at_ms?: number;
  readonly started_ms?: number;
  readonly execution_count?: number | null;
  readonly allowed?: boolean;
  readonly output?: IOutput;
  readonly at?: ReadonlyArray<number>;
  readonly data?: JSONObject;
  readonly metadata?: JSONObject;
}

/** Some of the records of an attempt; `next` asks for those that follow. */
export interface IRecords {
  readonly records: ReadonlyArray<IRecord>;
  readonly next: number;
  readonly over: boolean;
  readonly attempt: number;
}

/** A cell as a notebook file has it. */
export interface IFileCell {
  readonly cell_type: string;
  readonly source: string | ReadonlyArray<string>;
  readonly metadata?: JSONObject;
  readonly outputs?: ReadonlyArray<IOutput>;
}

/** A notebook as its file is; more than this is passed on as it came. */
export interface IContent {
  readonly cells: ReadonlyArray<IFileCell>;
}

export type TriggerKind = 'git' | 's3' | 'webhook' | 'cron' | 'every' | 'at' | 'after';

/** What makes a job run; kinds that this page does not know are kept as they are. */
export type Trigger = Readonly<Record<string, JSONValue>>;

/** The definition of a job, as its JSON schema has it. */
export interface IDefinition {
  readonly name: string;
  readonly notebook: string;
  readonly machine?: string;
  readonly triggers?: ReadonlyArray<Trigger>;
  readonly [member: string]: unknown;
}

/** One run in the strip of a job. */
export interface IStripRun {
  readonly id: string;
  readonly state: RunState;
  readonly due_ms: number;
  readonly ended_ms: number | null;
}

export interface IJob {
  readonly name: string;
  readonly id: string;
  readonly rev: number;
  readonly paused: boolean;
  readonly next_due_ms: number | null;
  readonly definition: IDefinition;
  /** The last runs, the newest last. */
  readonly strip: ReadonlyArray<IStripRun>;
  /** The notebook's path below the server's root, where it is there. */
  readonly path?: string | null;
  /** How its triggers are; a list of jobs leaves them out. */
  readonly triggers?: ReadonlyArray<IJobTrigger>;
}

/** A trigger of a job, and why its last look failed. */
export interface IJobTrigger {
  readonly key: string;
  readonly kind?: string;
  readonly words: string;
  readonly error?: {
    readonly message: string;
    readonly hint?: string | null;
    readonly since_ms: number;
  } | null;
}

/** What a backfill would do: due times in the range, how many of them had their run, the first and the last. */
export interface IFilling {
  readonly due: number;
  readonly ran: number;
  readonly first_ms: number;
  readonly last_ms: number;
}

/** A trigger in words, and the times at which it fires next. */
export interface IPreview {
  readonly words: string;
  readonly next_ms: ReadonlyArray<number>;
}

/** What the sidebar shows. */
export interface ISummary {
  readonly running: ReadonlyArray<IRun>;
  readonly failed_today: ReadonlyArray<IRun>;
  readonly next: ReadonlyArray<{ readonly job: string; readonly due_ms: number }>;
  readonly counts?: Readonly<Record<string, number>>;
}

/** A parameter that a notebook declares. */
export interface IParameter {
  readonly name: string;
  /** int, float, bool, str, list, dict, None; empty where any value will do. */
  readonly kind: string;
  readonly default: JSONValue;
  readonly optional?: boolean;
  readonly help?: string;
}

/** What is to be run now. */
export interface IRunRequest {
  readonly path: string;
  readonly machine?: string;
  readonly kernel?: string;
  readonly parameters?: JSONObject;
  readonly content?: IContent;
  /** Run it with each of these: lists of values, or sets. */
  readonly sweep?: JSONValue;
  /** Said again with the same, it runs once. */
  readonly token?: string;
}

/** The notebook of selected cells: those before them that they need, and for which names. */
export interface ISelection {
  readonly content: IContent;
  /** The places of its cells in the whole notebook. */
  readonly cells: ReadonlyArray<number>;
  readonly needed: ReadonlyArray<{ readonly index: number; readonly names: ReadonlyArray<string> }>;
  /** Selected cells whose names are not known. */
  readonly unread: ReadonlyArray<number>;
}

/** How a run is to be run again: on another machine, or from its failed cell on. */
export interface IRetry {
  readonly machine?: string;
  readonly from_failed?: boolean;
}

/** What is wrong with one field of a definition. */
export interface IProblem {
  readonly field: string;
  readonly cause: string;
  readonly remedy: string;
}

export interface IRunEvent {
  readonly id: string;
  readonly job?: string;
  readonly state: RunState;
}

/** The kernel of a failed run, opened: it is a kernel of the server, and a notebook is open with it. */
export interface IOpened {
  readonly kernel_id: string;
  readonly path: string;
  readonly until_ms: number;
  readonly machine: string;
}
