import { IDataset, IEntry, IPlace, IService } from './types';

const SCHEME = 's3://';
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/;

/** The place that a text names, with or without `s3://`; null where it names none. */
export function parseAddress(text: string): IPlace | null {
  const rest = text.trim().replace(/^s3:\/*/i, '');
  const slash = rest.indexOf('/');
  const bucket = slash < 0 ? rest : rest.slice(0, slash);
  const prefix = slash < 0 ? '' : rest.slice(slash + 1);
  return BUCKET.test(bucket) ? { bucket, prefix } : null;
}

/** The place as a folder: what it lists. */
export function asFolder(place: IPlace): IPlace {
  const { bucket, prefix } = place;
  return prefix && !prefix.endsWith('/') ? { bucket, prefix: `${prefix}/` } : place;
}

/** `s3://bucket/prefix`, without the slash at the end of a folder. */
export function addressOf({ bucket, prefix }: IPlace): string {
  return `${SCHEME}${bucket}/${prefix}`.replace(/\/$/, '');
}

/** The folder above a place; null above a bucket. */
export function parentOf({ bucket, prefix }: IPlace): IPlace | null {
  if (!prefix) {
    return null;
  }
  const above = prefix.replace(/\/$/, '');
  return { bucket, prefix: above.slice(0, above.lastIndexOf('/') + 1) };
}

/** What an entry is called in its folder. */
export function nameOf(entry: IEntry, prefix: string): string {
  return entry.key.slice(prefix.length) || entry.key;
}

/** Whether an entry can be synced: its address leads to it alone. */
export function isSyncable(entry: IEntry): boolean {
  return entry.is_text && !/[\0\n\r]|\/\/$/.test(entry.key);
}

/** Where a dataset has what an address names, on its machine; null where it has not. */
export function pathThere(dataset: IDataset, address: string): string | null {
  if (dataset.upward || !dataset.there || !dataset.synced_ms) {
    return null;
  }
  if (address === dataset.source) {
    return dataset.folder;
  }
  const below = `${dataset.source}/`;
  return address.startsWith(below) ? `${dataset.folder}/${address.slice(below.length)}` : null;
}

/** The folder that a place goes to unless the user says otherwise; for an object the one that it lies in. */
export function folderFor({ bucket, prefix }: IPlace, isObject: boolean): string {
  const parts = prefix.split('/').filter(Boolean);
  return ['data', bucket, ...(isObject ? parts.slice(0, -1) : parts)].join('/');
}

/** The cell that brings a dataset to the kernel. */
export function cellFor(address: string, service: IService): string {
  const more = Object.entries(service)
    .filter(([, value]) => value)
    .map(([name, value]) => `, ${name}=${JSON.stringify(value)}`);
  return [
    'from jupyter_cloudml import dataset',
    '',
    `path = dataset(${JSON.stringify(address)}${more.join('')})`
  ].join('\n');
}
