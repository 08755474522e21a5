import { IStateDB } from '@jupyterlab/statedb';
import { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { addressOf, asFolder, parseAddress } from './address';
import { DataClient } from './client';
import { IFolder, IPlaceRow, Row, bucketRows, endIdOf, folderRows, keyOf } from './rows';
import { IPage, IPlace, IService } from './types';

const STATE = 'jupyter-cloudml:buckets';
const RECENT = 10;

/** What is remembered from one page to the next. */
interface IRemembered {
  readonly address: string;
  readonly service: IService;
  readonly recent: ReadonlyArray<string>;
}

/** What lies in a bucket, loaded page by page where somebody looks. Knows no DOM. */
export class BucketModel extends Observable {
  constructor(
    readonly client: DataClient,
    private readonly _state: IStateDB | null
  ) {
    super();
  }

  get service(): IService {
    return this._service;
  }

  /** The folder that is shown, null for the list of buckets; undefined before anything was asked for. */
  get place(): IPlace | null | undefined {
    return this._place;
  }

  /** The addresses that were looked at, the newest first. */
  get recent(): ReadonlyArray<string> {
    return this._recent;
  }

  get filter(): string {
    return this._filter;
  }

  /** Why nothing can be shown. */
  get error(): CloudMLError | null {
    return this._error;
  }

  /** Whether the first names are on their way. */
  get loading(): boolean {
    return this._loading;
  }

  /** The names that were loaded for the folder that is shown, and whether more follow. */
  get loaded(): { readonly count: number; readonly more: boolean } {
    const folder = this._place && this._folders.get(keyOf(this._place));
    return folder
      ? { count: folder.entries.length, more: folder.after !== null }
      : { count: this._buckets.length, more: false };
  }

  /** The lines of the tree, but for those that the filter leaves out. */
  get rows(): ReadonlyArray<Row> {
    if (!this._rows) {
      const tree = {
        buckets: this._buckets,
        folders: this._folders,
        expanded: this._expanded,
        filter: this._filter.toLowerCase()
      };
      this._rows = this._place ? folderRows(tree, keyOf(this._place), 1) : bucketRows(tree);
    }
    return this._rows;
  }

  /** The line that the keyboard is on; -1 without one. */
  get active(): number {
    return this.rows.findIndex(row => row.id === this._activeId);
  }

  /** What the keyboard is on, where it is a place. */
  get chosen(): IPlaceRow | null {
    const row = this.rows[this.active];
    return row && 'place' in row ? row : null;
  }

  /** Go on where the user was last, once. */
  async restore(): Promise<void> {
    if (this._restored) {
      return;
    }
    this._restored = true;
    const kept = (await this._state?.fetch(STATE).catch(() => undefined)) as
      Partial<IRemembered> | undefined;
    if (!kept || this._place !== undefined) {
      return;
    }
    this._service = kept.service ?? {};
    this._recent = kept.recent ?? [];
    const place = parseAddress(kept.address ?? '');
    if (place) {
      await this.open(place);
    } else {
      this._redraw();
    }
  }

  /** Show a folder, or the buckets. */
  async open(place: IPlace | null, service: IService = this._service): Promise<void> {
    this._restored = true;
    this._service = service;
    this._place = place && asFolder(place);
    this._generation++;
    this._buckets = [];
    this._folders.clear();
    this._expanded.clear();
    this._activeId = '';
    this._filter = '';
    this._error = null;
    this._loading = true;
    this._redraw();
    const generation = this._generation;
    try {
      if (this._place) {
        await this._load(this._place, null);
      } else {
        const { buckets } = await this.client.list(service, null);
        if (generation === this._generation) {
          this._buckets = buckets.map(bucket => bucket.name);
        }
      }
    } catch (reason) {
      if (generation === this._generation) {
        this._error = CloudMLError.from(reason);
      }
    }
    if (generation === this._generation) {
      this._loading = false;
      this._remember();
      this._redraw();
    }
  }

  /** Ask again for what is shown. */
  refresh(): Promise<void> {
    return this._place === undefined ? Promise.resolve() : this.open(this._place);
  }

  setFilter(text: string): void {
    this._filter = text.trim();
    this._redraw();
  }

  activate(id: string): void {
    this._activeId = id;
    this.emit();
  }

  /** Open or close a bucket or folder in the tree. */
  toggle(row: IPlaceRow): void {
    if (row.kind === 'object') {
      return;
    }
    if (this._expanded.delete(row.id)) {
      this._redraw();
      return;
    }
    this._expanded.add(row.id);
    const folder = this._folders.get(row.id);
    if (folder && folder.state !== 'failed') {
      this._redraw();
    } else {
      void this._load(row.place, null).catch(() => undefined);
    }
  }

  /** Load the next names of a folder. */
  async more(key: string): Promise<void> {
    const folder = this._folders.get(key);
    if (folder && folder.state !== 'loading') {
      await this._load(folder.place, folder.after).catch(() => undefined);
    }
  }

  protected override release(): void {
    this._generation++;
  }

  /** Load a page of a folder; a failure stands in its last line, and is thrown. */
  private async _load(place: IPlace, after: string | null): Promise<void> {
    const key = keyOf(place);
    const generation = this._generation;
    let folder = this._folders.get(key);
    if (!folder) {
      folder = { place, entries: [], after: null, state: 'loading', error: null };
      this._folders.set(key, folder);
    }
    folder.state = 'loading';
    this._redraw();
    let page: IPage;
    try {
      page = await this.client.list(this._service, place, after);
    } catch (reason) {
      folder.state = 'failed';
      folder.error = CloudMLError.from(reason);
      if (generation === this._generation) {
        this._redraw();
      }
      throw reason;
    }
    if (generation === this._generation) {
      const first = page.entries[0];
      if (first && this._activeId === endIdOf(key)) {
        // The keyboard waited for these at the end of what was there.
        this._activeId = keyOf({ bucket: place.bucket, prefix: first.key });
      }
      for (const entry of page.entries) {
        folder.entries.push(entry);
      }
      folder.after = page.after;
      folder.state = 'loaded';
      folder.error = null;
      this._redraw();
    }
  }

  private _remember(): void {
    const address = this._place ? addressOf(this._place) : '';
    if (address && !this._error) {
      this._recent = [address, ...this._recent.filter(each => each !== address)].slice(0, RECENT);
    }
    const value = { address, service: this._service, recent: this._recent };
    void this._state
      ?.save(STATE, value as unknown as ReadonlyPartialJSONObject)
      .catch(() => undefined);
  }

  /** Its rows have changed. */
  private _redraw(): void {
    this._rows = null;
    this.emit();
  }

  private readonly _folders = new Map<string, IFolder>();
  private readonly _expanded = new Set<string>();
  private _service: IService = {};
  private _place: IPlace | null | undefined = undefined;
  private _recent: ReadonlyArray<string> = [];
  private _buckets: ReadonlyArray<string> = [];
  private _filter = '';
  private _activeId = '';
  private _error: CloudMLError | null = null;
  private _loading = false;
  private _restored = false;
  private _generation = 0;
  private _rows: ReadonlyArray<Row> | null = null;
}
