import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { CloudMLError } from '../api';
import { OperationModel } from '../operation';
import { ICloudML } from '../tokens';
import { ICheckStep } from '../types';

/** One diagnosis of a machine, step by step. */
export class CheckModel implements IDisposable {
  constructor(
    readonly machine: string,
    private readonly _model: ICloudML
  ) {}

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

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Begin, or begin again. */
  async run(): Promise<void> {
    this._operation?.dispose();
    this._operation = null;
    this._error = null;
    this._running = true;
    this._changed.emit();
    try {
      const { id } = await this._model.client.act(this.machine, 'check');
      const operation = this._model.watch(id);
      this._operation = operation;
      operation.changed.connect(() => this._changed.emit());
      await operation.ended;
    } catch (reason) {
      this._error = CloudMLError.from(reason);
    }
    this._running = false;
    if (!this._isDisposed) {
      this._changed.emit();
    }
  }

  async cancel(): Promise<void> {
    await this._operation?.cancel().catch(() => undefined);
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._operation?.dispose();
    Signal.clearData(this);
  }

  private readonly _changed = new Signal<this, void>(this);
  private _operation: OperationModel | null = null;
  private _error: CloudMLError | null = null;
  private _running = false;
  private _isDisposed = false;
}
