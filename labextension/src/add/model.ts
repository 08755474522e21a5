import { CloudMLError } from '../api';
import { Observable } from '../observable';
import { OperationModel } from '../operation';
import { ICloudML } from '../tokens';
import { IHostKey, IMachineForm, ISSHMachine, ISuggestion } from '../types';

/** Where the conversation about a new machine stands. */
export type Phase =
  | { readonly kind: 'form'; readonly error: CloudMLError | null }
  | { readonly kind: 'asking' }
  | { readonly kind: 'host-key'; readonly key: IHostKey }
  | { readonly kind: 'progress'; readonly operation: OperationModel }
  | { readonly kind: 'failed'; readonly error: CloudMLError; readonly log: ReadonlyArray<string> }
  | { readonly kind: 'done'; readonly machine: string };

export type FormData = Partial<ISSHMachine>;

/** Adds one machine: form, host key, connection. What the user typed is kept through every failure. */
export class AddMachineModel extends Observable {
  constructor(private readonly _model: ICloudML) {
    super();
  }

  get phase(): Phase {
    return this._phase;
  }

  /** The form and what it may suggest; null until the server has answered. */
  get form(): IMachineForm | null {
    return this._form;
  }

  get suggestions(): ReadonlyArray<ISuggestion> {
    return this._suggestions;
  }

  get data(): FormData {
    return this._data;
  }

  /** Get the form and the suggestions; a failure is shown where the form would be. */
  async load(): Promise<void> {
    const { client } = this._model;
    try {
      const [form, suggestions] = await Promise.all([client.machineForm(), client.suggestions()]);
      this._form = form;
      const taken = new Set(this._model.machines?.map(machine => machine.name));
      this._suggestions = suggestions.filter(each => !taken.has(nameFor(each.name)));
      this._go({ kind: 'form', error: null });
    } catch (reason) {
      this._go({ kind: 'form', error: CloudMLError.from(reason) });
    }
  }

  /** Take what the user typed; the name follows the host until the user names the machine. */
  edit(data: FormData): void {
    const follows = !this._data.name || this._data.name === nameFor(this._data.host ?? '');
    const named = data.name !== this._data.name;
    const name = follows && !named && data.host ? nameFor(data.host) : data.name;
    this._data = { ...data, name };
    this.emit();
  }

  /** Fill the form with a host of the SSH configuration, which knows its user, port and key itself. */
  suggest(suggestion: ISuggestion): void {
    const { python, carrier } = this._data;
    this._data = { host: suggestion.name, name: nameFor(suggestion.name), python, carrier };
    this.emit();
  }

  /** Send the form; without a known host key the next phase shows it. */
  submit(): Promise<void> {
    return this._send({});
  }

  /** Accept the host key that is shown, and go on. */
  async trust(): Promise<void> {
    if (this._phase.kind === 'host-key') {
      await this._send({ host_key: this._phase.key.fingerprint });
    }
  }

  /** Go back to the form with all that was typed. */
  back(): void {
    this._go({ kind: 'form', error: null });
  }

  /** Give up what runs; nothing is left of the machine. */
  async cancel(): Promise<void> {
    this._attempt += 1;
    const phase = this._phase;
    if (phase.kind === 'progress') {
      await phase.operation.cancel().catch(() => undefined);
      phase.operation.dispose();
    }
    this.back();
  }

  protected override release(): void {
    if (this._phase.kind === 'progress') {
      this._phase.operation.dispose();
    }
  }

  private async _send(extra: FormData): Promise<void> {
    const attempt = ++this._attempt;
    const { client } = this._model;
    this._go({ kind: 'asking' });
    try {
      const { id } = await client.addMachine({ ...this._data, ...extra } as ISSHMachine);
      if (attempt === this._attempt && !this.isDisposed) {
        await this._follow(this._model.watch(id), attempt);
      } else {
        await client.cancelOperation(id);
      }
    } catch (reason) {
      if (attempt === this._attempt) {
        this._refused(CloudMLError.from(reason), []);
      }
    }
  }

  private async _follow(operation: OperationModel, attempt: number): Promise<void> {
    operation.changed.connect(() => this.emit());
    this._go({ kind: 'progress', operation });
    try {
      const { target } = await operation.ended;
      await Promise.all([this._model.refresh(), this._model.specs.refreshSpecs()]);
      this._go({ kind: 'done', machine: target });
    } catch (reason) {
      if (attempt === this._attempt) {
        this._refused(CloudMLError.from(reason), operation.value?.log ?? []);
      }
    } finally {
      operation.dispose();
    }
  }

  private _refused(error: CloudMLError, log: ReadonlyArray<string>): void {
    if (error.code === 'host_key_unknown') {
      this._go({ kind: 'host-key', key: error.details as unknown as IHostKey });
    } else if (error.code === 'cancelled') {
      this.back();
    } else if (error.status === 400 || error.status === 422 || error.code === 'exists') {
      this._go({ kind: 'form', error });
    } else {
      this._go({ kind: 'failed', error, log });
    }
  }

  private _go(phase: Phase): void {
    if (!this.isDisposed) {
      this._phase = phase;
      this.emit();
    }
  }

  private _phase: Phase = { kind: 'form', error: null };
  private _form: IMachineForm | null = null;
  private _suggestions: ReadonlyArray<ISuggestion> = [];
  private _data: FormData = {};
  private _attempt = 0;
}

/** A machine's name made from a host: its first label, in the letters that names may have. */
export function nameFor(host: string): string {
  const isAddress = /^[\d.]+$/.test(host) || host.includes(':');
  const label = isAddress ? host : (host.split('.')[0] ?? '');
  return label
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 63);
}
