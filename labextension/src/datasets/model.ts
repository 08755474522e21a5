import { CloudMLError } from '../api';
import { IOperationEvent } from '../events';
import { Observable } from '../observable';
import { OperationModel } from '../operation';
import { ICloudML } from '../tokens';
import { IOperation } from '../types';
import { pathThere } from './address';
import { DataClient } from './client';
import { IDatasets, ISync, ISynced } from './types';

const KIND = 'sync-dataset';

/** A sync that has failed, until the user has seen it. */
export interface IFailure {
  readonly source: string;
  readonly target: string;
  readonly error: CloudMLError;
}

/** The datasets of one machine, and the syncs that run there, whoever has begun them. Knows no DOM. */
export class DatasetsModel extends Observable {
  constructor(
    private readonly _model: ICloudML,
    readonly client: DataClient
  ) {
    super();
    _model.datasetsChanged.connect(this._onChanged, this);
    _model.operationMoved.connect(this._onOperation, this);
    _model.changed.connect(this._onMachines, this);
  }

  /** The machine that it is about. */
  get machine(): string | null {
    return this._machine;
  }

  /** Null before the first answer. */
  get value(): IDatasets | null {
    return this._value;
  }

  get error(): CloudMLError | null {
    return this._error;
  }

  /** The syncs that run there now. */
  get syncs(): ReadonlyArray<OperationModel> {
    return [...this._syncs.values()];
  }

  get failures(): ReadonlyArray<IFailure> {
    return this._failures;
  }

  /** Look, and go on looking, only while somebody sees it. */
  setVisible(visible: boolean): void {
    if (visible !== this._visible) {
      this._visible = visible;
      if (visible && this._stale) {
        void this.refresh();
      }
    }
  }

  /** Be about another machine. */
  setMachine(machine: string | null): void {
    if (machine === this._machine) {
      return;
    }
    this._machine = machine;
    this._value = this._error = null;
    this._failures = [];
    this._syncs.forEach(sync => sync.dispose());
    this._syncs.clear();
    this._stale = true;
    this.emit();
    if (this._visible) {
      void this.refresh();
    }
  }

  /** Ask the machine, and the server for the syncs there. */
  async refresh(): Promise<void> {
    const machine = this._machine;
    if (machine === null || this._model.machine(machine)?.state !== 'running') {
      return;
    }
    this._stale = false;
    try {
      const [value, operations] = await Promise.all([
        this.client.datasets(machine),
        this._model.client.listOperations()
      ]);
      if (machine === this._machine) {
        this._take(value);
        operations
          .filter(each => each.kind === KIND && each.target === machine)
          .filter(each => each.state === 'running')
          .forEach(each => this._follow(each.id));
      }
    } catch (reason) {
      if (machine === this._machine) {
        this._error = CloudMLError.from(reason);
        this._stale = true;
      }
    }
    this.emit();
  }

  /** Begin a sync, and resolve at its end. */
  async sync(machine: string, sync: ISync): Promise<ISynced> {
    const { id } = await this.client.sync(machine, sync);
    if (machine === this._machine) {
      this._follow(id);
    }
    const operation = this._model.watch(id);
    try {
      return (await operation.ended).result as ISynced;
    } finally {
      operation.dispose();
    }
  }

  pin(dataset: string, pinned: boolean): Promise<void> {
    return this._change(machine => this.client.pin(machine, dataset, pinned));
  }

  setQuota(bytes: number): Promise<void> {
    return this._change(machine => this.client.setQuota(machine, bytes));
  }

  /** Drop what a dataset has in the cache; of all where none is named. */
  evict(dataset: string): Promise<void> {
    return this._change(machine => this.client.evict(machine, dataset));
  }

  /** Where this machine has what an address names; null where it has not, as far as it is known. */
  pathOf(address: string): string | null {
    for (const dataset of this._value?.datasets ?? []) {
      const path = pathThere(dataset, address);
      if (path !== null) {
        return path;
      }
    }
    return null;
  }

  forget(failure: IFailure): void {
    this._failures = this._failures.filter(each => each !== failure);
    this.emit();
  }

  protected override release(): void {
    this._syncs.forEach(sync => sync.dispose());
  }

  private async _change(change: (machine: string) => Promise<IDatasets>): Promise<void> {
    const machine = this._machine;
    if (machine !== null) {
      const value = await change(machine);
      if (machine === this._machine) {
        this._take(value);
        this.emit();
      }
    }
  }

  private _take(value: IDatasets): void {
    this._value = value;
    this._error = null;
  }

  private _follow(id: string): void {
    // A list may be older than the end of what it names: what was dismissed would come back.
    if (this._syncs.has(id) || this._over.has(id) || this.isDisposed) {
      return;
    }
    const operation = this._model.watch(id);
    this._syncs.set(id, operation);
    operation.changed.connect(() => this.emit());
    void this._await(operation);
    this.emit();
  }

  private async _await(operation: OperationModel): Promise<void> {
    try {
      await operation.ended;
    } catch (reason) {
      const error = CloudMLError.from(reason);
      const about = operation.value?.about;
      if (about && error.code !== 'cancelled' && error.code !== 'disposed') {
        this._failures = [
          { ...aboutOf(operation.value), error },
          ...this._failures.filter(each => each.source !== about['source'])
        ].slice(0, 5);
      }
    }
    if (!operation.isDisposed) {
      this._over.add(operation.id);
      operation.dispose();
    }
    if (this._syncs.delete(operation.id)) {
      this.emit();
      this._onChanged(this._model, operation.value?.target ?? '');
    }
  }

  private _onOperation(_: ICloudML, event: IOperationEvent): void {
    const { id, kind, target, state } = event;
    if (kind === KIND && target === this._machine && state === 'running' && this._visible) {
      this._follow(id);
    }
  }

  private _onChanged(_: ICloudML, machine: string): void {
    if (machine !== this._machine) {
      return;
    }
    this._stale = true;
    window.clearTimeout(this._settling);
    this._settling = window.setTimeout(() => {
      if (this._visible && this._stale) {
        void this.refresh();
      }
    }, 100);
  }

  /** A machine that is back is asked. */
  private _onMachines(): void {
    const running = this._model.machine(this._machine)?.state === 'running';
    if (running && !this._running && this._visible && (this._stale || this._error)) {
      void this.refresh();
    }
    this._running = running;
  }

  private readonly _syncs = new Map<string, OperationModel>();
  /** Syncs whose ends were seen. */
  private readonly _over = new Set<string>();
  private _machine: string | null = null;
  private _value: IDatasets | null = null;
  private _error: CloudMLError | null = null;
  private _failures: ReadonlyArray<IFailure> = [];
  private _visible = false;
  private _stale = true;
  private _running = false;
  private _settling = 0;
}

/** What a sync is about, as it was asked for. */
export function aboutOf(operation: IOperation | null): { source: string; target: string } {
  const { source = '', target = '' } = operation?.about ?? {};
  return { source: String(source), target: String(target) };
}
