import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { ICloudML } from '../tokens';
import { IDrift, IEnvironment, IOperation } from '../types';

/** The environments of one machine, and the builds there that failed. */
export class EnvironmentsModel extends Observable {
  constructor(
    readonly machine: string,
    private readonly _model: ICloudML
  ) {
    super();
  }

  /** Null before the first answer. */
  get rows(): ReadonlyArray<IEnvironment> | null {
    return this._rows;
  }

  /** Builds that failed since the server started, the newest first. */
  get failed(): ReadonlyArray<IOperation> {
    return this._failed;
  }

  /** How an environment, by its key, compares with here; null while it is being compared, an error where it cannot be. */
  drift(key: string): IDrift | CloudMLError | null | undefined {
    return this._drifts.get(key);
  }

  get error(): CloudMLError | null {
    return this._error;
  }

  get loading(): boolean {
    return this._loading;
  }

  /** Ask the machine. */
  async refresh(): Promise<void> {
    const { client } = this._model;
    this._loading = true;
    this.emit();
    try {
      const [rows, operations] = await Promise.all([
        client.environments(this.machine),
        client.listOperations()
      ]);
      this._rows = rows;
      this._failed = operations.filter(
        each => each.kind === 'build' && each.target === this.machine && each.state === 'failed'
      );
      this._error = null;
    } catch (reason) {
      this._error = CloudMLError.from(reason);
    }
    this._loading = false;
    this.emit();
  }

  /** Compare one with the packages here. */
  async check(row: IEnvironment): Promise<void> {
    this._drifts.set(row.key, null);
    this.emit();
    try {
      this._drifts.set(row.key, await this._model.client.drift(this.machine, row.key));
    } catch (reason) {
      this._drifts.set(row.key, CloudMLError.from(reason));
    }
    this.emit();
  }

  /** Delete one, by a name of it or its key. Rejects with the reason where something runs in it. */
  async remove(name: string): Promise<void> {
    const { id } = await this._model.client.removeEnvironment(this.machine, name);
    const operation = this._model.watch(id);
    try {
      await operation.ended;
    } finally {
      operation.dispose();
      await this.refresh();
    }
    await this._model.specs.refreshSpecs();
  }

  private readonly _drifts = new Map<string, IDrift | CloudMLError | null>();
  private _rows: ReadonlyArray<IEnvironment> | null = null;
  private _failed: ReadonlyArray<IOperation> = [];
  private _error: CloudMLError | null = null;
  private _loading = false;
}
