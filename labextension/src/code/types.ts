/** What the REST API says about the code of a notebook. Names are the server's; times are UTC epoch ms, sizes are bytes. */

/** A notebook or folder under the server's root folder, and a machine. */
export interface ICodeOf {
  readonly path: string;
  readonly machine: string;
}

/** A file that somebody has to decide about, for its size. */
export interface ILargeFile {
  readonly path: string;
  readonly size: number;
}

/** How a folder of code compares with what a machine was sent. */
export interface ICodeStatus {
  readonly machine: string;
  readonly machine_path: string;
  readonly folder: string;
  readonly snapshot: string | null;
  readonly base_commit: string | null;
  readonly short_commit: string | null;
  readonly branch: string | null;
  readonly url: string | null;
  /** Files that differ from the commit; null where there is none. */
  readonly changed: number | null;
  /** Null before the first sync. */
  readonly synced_ms: number | null;
  readonly synced: boolean;
  /** Files that differ from what the machine was sent. */
  readonly unsent: number | null;
  readonly conflicts: ReadonlyArray<string>;
  readonly large: ReadonlyArray<ILargeFile>;
  /** The operation that syncs it now. */
  readonly operation: string | null;
}

/** What was made, changed and deleted on the machine since the last sync. */
export interface ICodeChanges {
  readonly changed: ReadonlyArray<string>;
  readonly gone: ReadonlyArray<string>;
  readonly more: boolean;
}

/** What is to become of large files, and whether so much is sent. */
export interface IDecision {
  readonly send?: ReadonlyArray<string>;
  readonly leave?: ReadonlyArray<string>;
  readonly everything?: boolean;
}

/** More than goes without a question, and the folders that hold most of it. */
export interface ILargeFolder {
  readonly bytes: number;
  readonly files: number;
  readonly folders: ReadonlyArray<{ path: string; bytes: number; files: number }>;
}

/** Why nothing was sent: somebody has to decide first. An error of the server is one. */
export interface IQuestion {
  readonly code: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export function isQuestion({ code }: IQuestion): boolean {
  return code === 'large_files' || code === 'large_folder';
}

/** What a sync or pull has done. */
export interface ISynced {
  readonly sent: number;
  readonly dropped: number;
  readonly taken: ReadonlyArray<string>;
  readonly deleted: ReadonlyArray<string>;
  /** Files that stayed on the machine for their size. */
  readonly large: ReadonlyArray<string>;
  readonly conflicts: ReadonlyArray<string>;
}

/** What is cloned, into which folder under the server's root folder, and for which machine. */
export interface IClone extends ICodeOf, IDecision {
  readonly url: string;
  /** A branch, tag or commit; empty is the remote's own branch. */
  readonly ref?: string;
}

/** What there is to choose from of a Git URL; commits are those of a clone that is here. */
export interface IRefs {
  readonly branches: ReadonlyArray<string>;
  readonly tags: ReadonlyArray<string>;
  readonly commits: ReadonlyArray<{ commit: string; title: string }>;
  readonly more: boolean;
}

/** What a clone has done. */
export interface ICloned extends ISynced {
  readonly name: string;
  /** What it lacks: submodules, contents of LFS. */
  readonly warnings: ReadonlyArray<string>;
  readonly branch: string | null;
  readonly base_commit: string | null;
}

/** A folder of code was synced, or is about to be. */
export interface IWorkspaceEvent {
  readonly machine: string;
  readonly folder: string;
}
