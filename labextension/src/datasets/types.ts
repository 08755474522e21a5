/** What the REST API says about buckets and datasets. Names are the server's; times are UTC epoch ms, sizes are bytes. */

/** How the user names an S3 service; what is left out comes from the variables and ~/.aws of the server. */
export interface IService {
  readonly endpoint_url?: string;
  readonly profile?: string;
  readonly region?: string;
}

/** A bucket and a prefix in it. The one of a folder ends with a slash, that of a whole bucket is empty. */
export interface IPlace {
  readonly bucket: string;
  readonly prefix: string;
}

/** A name below a prefix; a key that is not UTF-8 is only shown. */
export interface IEntry {
  readonly key: string;
  readonly is_folder: boolean;
  readonly size: number;
  readonly modified_ms: number | null;
  readonly is_text: boolean;
}

export interface IBucket {
  readonly name: string;
  readonly created_ms: number | null;
}

/** Some of the names, in the order of S3; `after` asks for the next. */
export interface IPage {
  readonly buckets: ReadonlyArray<IBucket>;
  readonly entries: ReadonlyArray<IEntry>;
  readonly after: string | null;
}

/** What some thousands of objects add up to; `after` as in IPage. */
export interface IMeasure {
  readonly files: number;
  readonly bytes: number;
  readonly after: string | null;
  /** Where `dataset()` in a notebook has it, below the home folder; null where no folder can be called so. */
  readonly folder: string | null;
}

/** A prefix and the folder of a machine that it was synced with. */
export interface IDataset {
  readonly machine: string;
  readonly folder: string;
  readonly source: string;
  /** Whether the folder goes to the prefix. */
  readonly upward: boolean;
  readonly pinned: boolean;
  /** Whether the folder exists. */
  readonly there: boolean;
  readonly files: number;
  readonly bytes: number;
  /** 0 where no sync has ended yet. */
  readonly synced_ms: number;
}

/** What a machine has of datasets. */
export interface IDatasets {
  readonly machine: string;
  readonly datasets: ReadonlyArray<IDataset>;
  readonly cache: { readonly used: number; readonly quota: number };
}

/** What is synced: one of the two is in S3, the other a folder of the machine. */
export interface ISync extends IService {
  readonly source: string;
  readonly target: string;
}

/** What a sync has done. */
export interface ISynced {
  readonly source: string;
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
  readonly total_files: number;
  readonly total_bytes: number;
  readonly failed: ReadonlyArray<{ readonly name: string; readonly why: string }>;
  readonly failed_count: number;
}
