import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { OperationModel } from '../operation';
import { ICloudML } from '../tokens';
import { IOperation, IStep } from '../types';
import { CodeClient } from './client';
import {
  ICodeChanges,
  ICodeOf,
  ICodeStatus,
  IDecision,
  IQuestion,
  isQuestion,
  ISynced,
  IWorkspaceEvent
} from './types';

/** Asks the user what the server could not decide; null where the user goes no further. */
export type Ask = (question: IQuestion) => Promise<IDecision | null>;

/** What is no failure to be shown. */
const QUIET: ReadonlyArray<string> = ['cancelled', 'large_files', 'large_folder'];
const NOTHING: ICodeChanges = { changed: [], gone: [], more: false };

/** The code of one notebook and of one machine: how they compare, and what is being done about it. Knows no DOM. */
export class CodeModel extends Observable {
  constructor(
    private readonly _model: ICloudML,
    private readonly _ask: Ask
  ) {
    super();
    this.client = new CodeClient(_model.client);
    _model.workspaceChanged.connect(this._onWorkspace, this);
  }

  readonly client: CodeClient;

  /** What it is about; null where there is nothing to compare. */
  get of(): ICodeOf | null {
    return this._of;
  }

  /** Null before the first answer. */
  get value(): ICodeStatus | null {
    return this._value;
  }

  /** What was changed on the machine, as far as it was asked. */
  get there(): ICodeChanges {
    return this._there;
  }

  /** Whether there is something to bring back that is no conflict already. */
  get hasChangesThere(): boolean {
    const conflicts = this._value?.conflicts ?? [];
    return [...this._there.changed, ...this._there.gone].some(file => !conflicts.includes(file));
  }

  /** Why the last thing did not work. */
  get error(): CloudMLError | null {
    return this._error;
  }

  /** What the last sync has done, until the next. */
  get done(): ISynced | null {
    return this._done;
  }

  get running(): boolean {
    return this._running;
  }

  /** How far the sync is that runs now. */
  get step(): IStep | null {
    return this._operation?.value?.step ?? null;
  }

  /** Be about another notebook or machine. */
  setTarget(of: ICodeOf | null): void {
    if (of?.path === this._of?.path && of?.machine === this._of?.machine) {
      return;
    }
    this._of = of;
    this._value = this._error = this._done = null;
    this._there = NOTHING;
    this._follow(null);
    this._running = false;
    this.emit();
    void this.refresh();
  }

  /** Compare anew. A failure shows in place of what is known, unless a sync has failed just before. */
  async refresh(): Promise<void> {
    const of = this._of;
    if (!of) {
      return;
    }
    try {
      const value = await this.client.status(of);
      if (of !== this._of) {
        return;
      }
      const recovered = this._value === null;
      this._value = value;
      this._error = recovered ? null : this._error;
      if (value.operation && !this._running) {
        const { operation } = value;
        void this._run(() => this._model.client.getOperation(operation));
      }
    } catch (reason) {
      if (of === this._of && !this._value) {
        this._error = CloudMLError.from(reason);
      }
    }
    this.emit();
  }

  /** Ask the machine what was changed there; what it cannot say now it is asked again later. */
  async lookThere(): Promise<void> {
    const of = this._of;
    if (!of || this._running || !this._value?.synced_ms) {
      return;
    }
    try {
      const there = await this.client.changes(of);
      if (of === this._of && !this._running) {
        this._there = there;
        this.emit();
      }
    } catch {
      // It is busy or away: the line above says so.
    }
  }

  sync(decision: IDecision = {}): Promise<void> {
    return this._start(of => this.client.sync(of, false, decision));
  }

  pull(decision: IDecision = {}): Promise<void> {
    return this._start(of => this.client.sync(of, true, decision));
  }

  /** Have a file on both sides as the machine has it (`there`), or as it is here. */
  settle(file: string, there: boolean): Promise<void> {
    return this._start(of => this.client.settle(of, file, there));
  }

  /** Ask about the large files that wait for it, and sync. */
  async decide(): Promise<void> {
    const decision = await this._ask({
      code: 'large_files',
      details: { files: this._value?.large ?? [] }
    });
    if (decision) {
      await this.sync(decision);
    }
  }

  cancel(): void {
    void this._operation?.cancel().catch(() => undefined);
  }

  protected override release(): void {
    this._of = null;
    this._follow(null);
  }

  private async _start(begin: (of: ICodeOf) => Promise<IOperation>): Promise<void> {
    const of = this._of;
    if (!of || this._running) {
      return;
    }
    const error = await this._run(() => begin(of));
    if (error && isQuestion(error) && of === this._of) {
      const decision = await this._ask(error);
      if (decision) {
        await this.sync(decision);
      }
    }
  }

  /** Follow an operation to its end; returns why it failed. */
  private async _run(begin: () => Promise<IOperation>): Promise<CloudMLError | null> {
    const of = this._of;
    this._running = true;
    this._error = this._done = null;
    this.emit();
    let error: CloudMLError | null = null;
    try {
      const { id } = await begin();
      const operation = this._model.watch(id);
      this._follow(operation);
      const ended = await operation.ended;
      if (of === this._of) {
        this._done = ended.result as ISynced;
        this._there = ended.kind === 'pull' ? NOTHING : this._there;
      }
    } catch (reason) {
      error = CloudMLError.from(reason);
    }
    if (of !== this._of) {
      return null;
    }
    this._running = false;
    this._follow(null);
    // Large files are among what the comparison tells.
    this._error = error && QUIET.includes(error.code) ? null : error;
    await this.refresh();
    return error;
  }

  private _follow(operation: OperationModel | null): void {
    this._operation?.dispose();
    this._operation = operation;
    operation?.changed.connect(() => this.emit());
  }

  private _onWorkspace(_: ICloudML, event: IWorkspaceEvent): void {
    const { machine, folder } = this._value ?? {};
    if (event.machine === machine && event.folder === folder && !this._running) {
      void this.refresh();
    }
  }

  private _of: ICodeOf | null = null;
  private _value: ICodeStatus | null = null;
  private _there: ICodeChanges = NOTHING;
  private _error: CloudMLError | null = null;
  private _done: ISynced | null = null;
  private _running = false;
  private _operation: OperationModel | null = null;
}
