import { JSONObject } from '@lumino/coreutils';

import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { cleaned } from './form_schema';
import { JobsModel } from './model';
import { IDefinition, IJob, IParameter, IProblem, IPreview, Trigger } from './types';

/** What is typed settles for so many ms before the server is asked about it. */
const SETTLE = 300;

/** A definition that is being written: the server's schema, what was typed, and what the server says of it. */
export class EditModel extends Observable {
  /** `name`: the job that is changed; null for a new one, which begins with `data`. */
  constructor(
    readonly name: string | null,
    private readonly _jobs: JobsModel,
    data: JSONObject
  ) {
    super();
    this._data = data;
    void this.load();
  }

  /** Null before the first answer. */
  get schema(): JSONObject | null {
    return this._schema;
  }

  get data(): JSONObject {
    return this._data;
  }

  /** Why there is no form, or why it was refused. */
  get error(): CloudMLError | null {
    return this._error;
  }

  /** What the server said is wrong, field by field. */
  get problems(): ReadonlyArray<IProblem> {
    const found = this._error?.details['problems'];
    return Array.isArray(found) ? (found as IProblem[]) : [];
  }

  /** The parameters of the notebook; null where they are not known. */
  get parameters(): ReadonlyArray<IParameter> | null {
    return this._parameters;
  }

  /** The ids of fields whose text is no value; what the definition has for them was written before. */
  get wrong(): ReadonlySet<string> {
    return this._wrong;
  }

  /** The revision that is changed; 0 of a new job. */
  get rev(): number {
    return this._rev;
  }

  get busy(): boolean {
    return this._busy;
  }

  /** When a trigger fires, in words. */
  preview(trigger: Trigger): Promise<IPreview> {
    return this._jobs.client.preview(trigger);
  }

  now(): number {
    return this._jobs.now();
  }

  async load(): Promise<void> {
    try {
      const { client } = this._jobs;
      const [schema, job] = await Promise.all([
        client.schema(),
        this.name === null ? null : client.job(this.name)
      ]);
      this._schema = schema;
      if (job) {
        this._data = job.definition as unknown as JSONObject;
        this._path = job.path ?? null;
        this._rev = job.rev;
      }
      this._error = null;
      void this._askParameters();
    } catch (reason) {
      this._error = CloudMLError.from(reason);
    }
    this.emit();
  }

  /** Take note whether the text of a field is a value. */
  mark(id: string, isWrong: boolean): void {
    this._wrong[isWrong ? 'add' : 'delete'](id);
  }

  /** Take what was typed. */
  edit(data: JSONObject): void {
    const before = this._data['notebook'];
    this._data = data;
    if (data['notebook'] !== before) {
      this._path = null;
      window.clearTimeout(this._timer);
      this._timer = window.setTimeout(() => void this._askParameters(), SETTLE);
    }
    this.emit();
  }

  /** Make or change the job; null where it is refused. */
  async submit(): Promise<IJob | null> {
    this._busy = true;
    this.emit();
    let job: IJob | null = null;
    try {
      const definition = cleaned(this._data) as unknown as IDefinition;
      job = await this._jobs.client.apply(definition, this._rev);
      this._error = null;
    } catch (reason) {
      this._error = CloudMLError.from(reason);
    }
    this._busy = false;
    this.emit();
    return job;
  }

  protected override release(): void {
    window.clearTimeout(this._timer);
  }

  /** Ask for the parameters of the notebook; while its path is being typed there is none, and no harm in that. */
  private async _askParameters(): Promise<void> {
    const path = this._path ?? this._data['notebook'];
    const isPath = typeof path === 'string' && path.endsWith('.ipynb');
    const asked = ++this._asked;
    const found = isPath ? await this._jobs.client.parameters(path).catch(() => null) : null;
    // Answers may come in another order than they were asked for.
    if (asked !== this._asked) {
      return;
    }
    this._parameters = found;
    this.emit();
  }

  private _schema: JSONObject | null = null;
  private _data: JSONObject;
  private _path: string | null = null;
  private _rev = 0;
  private readonly _wrong = new Set<string>();
  private _parameters: ReadonlyArray<IParameter> | null = null;
  private _error: CloudMLError | null = null;
  private _busy = false;
  private _asked = 0;
  private _timer = 0;
}
