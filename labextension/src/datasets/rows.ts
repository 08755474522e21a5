import { CloudMLError } from '../api';
import { nameOf } from './address';
import { IEntry, IPlace } from './types';

/** One line of the tree of a bucket. `id` is the same as long as the line stands for the same. */
export type Row = IPlaceRow | IMoreRow;

/** A bucket, folder or object. */
export interface IPlaceRow {
  readonly kind: 'bucket' | 'folder' | 'object';
  readonly id: string;
  readonly level: number;
  readonly name: string;
  readonly place: IPlace;
  /** Null for a bucket. */
  readonly entry: IEntry | null;
  readonly expanded: boolean;
  /** The number among its siblings, from 1, and theirs; -1 while it is not known. */
  readonly position: number;
  readonly siblings: number;
}

/** What stands below the names of a folder: that more follow, that there are none, or why they cannot be had. */
export interface IMoreRow {
  readonly kind: 'more' | 'loading' | 'empty' | 'error';
  readonly id: string;
  readonly level: number;
  readonly folder: string;
  readonly count: number;
  readonly error: CloudMLError | null;
}

/** The names of one folder, as far as they were loaded. */
export interface IFolder {
  readonly place: IPlace;
  readonly entries: IEntry[];
  after: string | null;
  state: 'loading' | 'loaded' | 'failed';
  error: CloudMLError | null;
}

/** What a tree shows. */
export interface ITree {
  readonly buckets: ReadonlyArray<string>;
  readonly folders: ReadonlyMap<string, IFolder>;
  readonly expanded: ReadonlySet<string>;
  /** In lower case; empty shows all. */
  readonly filter: string;
}

/** The key of a folder among those of a tree. */
export function keyOf({ bucket, prefix }: IPlace): string {
  return `${bucket}/${prefix}`;
}

/** The id of the line below the names of a folder. */
export function endIdOf(key: string): string {
  return `${key}\0end`;
}

/** The lines for the buckets of a tree. */
export function bucketRows(tree: ITree): Row[] {
  const rows: Row[] = [];
  tree.buckets.forEach((name, index) => {
    const place = { bucket: name, prefix: '' };
    const id = keyOf(place);
    const expanded = tree.expanded.has(id);
    const inside = expanded ? folderRows(tree, id, 2) : [];
    if (matches(tree, name) || inside.some(row => 'place' in row)) {
      const [position, siblings] = [index + 1, tree.buckets.length];
      const more = { expanded, entry: null, position, siblings };
      append(rows, [{ kind: 'bucket', id, level: 1, name, place, ...more }], inside);
    }
  });
  return rows;
}

/** The lines for what lies in a folder, those of its open folders among them. */
export function folderRows(tree: ITree, key: string, level: number): Row[] {
  const folder = tree.folders.get(key);
  if (!folder) {
    return [];
  }
  const { bucket, prefix } = folder.place;
  const { entries } = folder;
  const siblings = folder.after === null ? entries.length : -1;
  const rows: Row[] = [];
  for (let index = 0; index < entries.length; index++) {
    const entry = entries[index] as IEntry;
    const place = { bucket, prefix: entry.key };
    const id = keyOf(place);
    const name = nameOf(entry, prefix);
    const expanded = entry.is_folder && tree.expanded.has(id);
    const inside = expanded ? folderRows(tree, id, level + 1) : [];
    if (matches(tree, name) || inside.some(row => 'place' in row)) {
      const kind = entry.is_folder ? 'folder' : 'object';
      const position = index + 1;
      const row: Row = { kind, id, level, name, place, entry, expanded, position, siblings };
      append(rows, [row], inside);
    }
  }
  const last = endOf(folder);
  if (last) {
    const { error } = folder;
    rows.push({
      kind: last,
      id: endIdOf(key),
      level,
      folder: key,
      count: entries.length,
      error
    });
  }
  return rows;
}

function endOf(folder: IFolder): IMoreRow['kind'] | null {
  if (folder.state === 'failed') {
    return 'error';
  }
  if (folder.state === 'loading') {
    return 'loading';
  }
  return folder.after !== null ? 'more' : folder.entries.length === 0 ? 'empty' : null;
}

function matches(tree: ITree, name: string): boolean {
  return !tree.filter || name.toLowerCase().includes(tree.filter);
}

/** Add lines; `push(...lines)` would overflow the stack with very many. */
function append(rows: Row[], ...more: ReadonlyArray<Row>[]): void {
  for (const lines of more) {
    for (const line of lines) {
      rows.push(line);
    }
  }
}

/** The line that a key leads to from `index`; null where it moves nothing. `page` is how many lines are in sight. */
export function nextIndex(
  rows: ReadonlyArray<Row>,
  index: number,
  key: string,
  page: number
): number | null {
  const steps: Record<string, number> = {
    ArrowDown: index + 1,
    ArrowUp: index - 1,
    PageDown: index + page,
    PageUp: index - page,
    Home: 0,
    End: rows.length - 1
  };
  const row = rows[index];
  if (key === 'ArrowLeft' && row && !('expanded' in row && row.expanded)) {
    steps[key] = parentIndex(rows, index);
  } else if (key === 'ArrowRight' && row && 'expanded' in row && row.expanded) {
    // The line that says "Loading…" goes, and the selection would go with it.
    steps[key] = rows[index + 1]?.kind === 'loading' ? index : index + 1;
  }
  const next = steps[key];
  return next === undefined ? null : Math.min(rows.length - 1, Math.max(0, next));
}

function parentIndex(rows: ReadonlyArray<Row>, index: number): number {
  const level = rows[index]?.level ?? 1;
  for (let above = index - 1; above >= 0; above--) {
    if ((rows[above] as Row).level < level) {
      return above;
    }
  }
  return index;
}
