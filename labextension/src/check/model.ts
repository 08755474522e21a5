import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { OperationModel } from '../operation';
import { ICloudML } from '../tokens';
import { ICheckStep } from '../types';

/** One diagnosis of a machine, step by step. */
export class CheckModel extends Observable {
  constructor(
    readonly machine: string,
    private readonly _model: ICloudML
  ) {
    super();
  }

  /** The steps taken so far. */
  get steps(): ReadonlyArray<ICheckStep> {
    const result = this._operation?.value?.result;
    return Array.isArray(result) ? (result as ICheckStep[]) : [];
  }

  /** Whether a step is being taken now. */
  get running(): boolean {
    return this._running;
  }

  /** Why the diagnosis itself could not be made. */
  get error(): CloudMLError | null {
    return this._error;
  }

  /** Begin, or begin again. */
  async run(): Promise<void> {
    this._operation?.dispose();
    this._operation = null;
    this._error = null;
    this._running = true;
    this.emit();
    try {
      const { id } = await this._model.client.act(this.machine, 'check');
      const operation = this._model.watch(id);
      this._operation = operation;
      operation.changed.connect(() => this.emit());
      await operation.ended;
    } catch (reason) {
      this._error = CloudMLError.from(reason);
    }
    this._running = false;
    this.emit();
  }

  async cancel(): Promise<void> {
    await this._operation?.cancel().catch(() => undefined);
  }

  protected override release(): void {
    this._operation?.dispose();
  }

  private _operation: OperationModel | null = null;
  private _error: CloudMLError | null = null;
  private _running = false;
}
