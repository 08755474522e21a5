import { Event, KernelSpec } from '@jupyterlab/services';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import { CloudMLClient, CloudMLError } from './api';
import { IWorkspaceEvent } from './code/types';
import {
  EventIDs,
  IDriftEvent,
  IKernelEvent,
  IMachineEvent,
  IOperationEvent,
  applyMachineEvent,
  mergeMachines
} from './events';
import { KernelRows } from './kernels';
import { Observable } from './observable';
import { OperationModel } from './operation';
import { IKernel, IMachine } from './types';

/** Events are pushed: the rest is a look now and then for one that was lost, in ms. */
const RECONCILE = 45_000;
/** Between two looks while the server does not answer or a machine is on its way, in ms. */
const SOON = 4_000;
const FIRST_RETRY = 1_000;
/** Events come in bursts; one snapshot answers those of this many ms. */
const SETTLE = 150;

/** What the user interface shows: machines and kernels, or why there are none. Knows no DOM but visibility. */
export class CloudMLModel extends Observable {
  constructor(
    readonly client: CloudMLClient,
    private readonly _events: Event.IManager,
    private readonly _specs: KernelSpec.IManager
  ) {
    super();
    _events.stream.connect(this._onEvent, this);
    document.addEventListener('visibilitychange', this._onVisibility);
    this._poll = new Poll({
      name: 'jupyter-cloudml:machines',
      auto: false,
      factory: () => this._load(),
      frequency: { interval: RECONCILE, backoff: true, max: RECONCILE },
      standby: 'when-hidden'
    });
  }

  /** Emitted with each kernel that was seen to end, once per end. */
  get kernelEnded(): ISignal<KernelRows, IKernel> {
    return this._rows.ended;
  }

  /** Emitted when the code of a folder was synced with a machine, or is about to be. */
  get workspaceChanged(): ISignal<this, IWorkspaceEvent> {
    return this._workspaceChanged;
  }

  /** Emitted with the id of a kernel whose packages were compared with those here. */
  get driftFound(): ISignal<this, string> {
    return this._driftFound;
  }

  /** Emitted with the name of a machine whose datasets have changed. */
  get datasetsChanged(): ISignal<this, string> {
    return this._datasetsChanged;
  }

  /** Emitted when slow work on the server has begun, moved on or ended, whoever asked for it. */
  get operationMoved(): ISignal<this, IOperationEvent> {
    return this._operationMoved;
  }

  /** Null before the first answer. */
  get machines(): ReadonlyArray<IMachine> | null {
    return this._machines;
  }

  get kernels(): ReadonlyArray<IKernel> {
    return this._rows.rows;
  }

  /** Why the last snapshot failed, or null. */
  get error(): CloudMLError | null {
    return this._error;
  }

  get specs(): KernelSpec.IManager {
    return this._specs;
  }

  /** The time on the server, UTC epoch ms. */
  now(): number {
    return Date.now() + this.client.clockOffset;
  }

  machine(name: string | null): IMachine | null {
    return this._machines?.find(machine => machine.name === name) ?? null;
  }

  kernel(id: string | null): IKernel | null {
    return this._rows.get(id);
  }

  /** Ask the server for everything; resolves when the answer or its failure is shown. */
  async refresh(): Promise<void> {
    await this._poll.refresh();
    await this._poll.tick.catch(() => undefined);
  }

  /** Follow slow work that the server does; the caller disposes it. */
  watch(operation: string): OperationModel {
    return new OperationModel(operation, this.client, this._events);
  }

  protected override release(): void {
    window.clearTimeout(this._settling);
    document.removeEventListener('visibilitychange', this._onVisibility);
    this._poll.dispose();
    this._rows.dispose();
  }

  private async _load(): Promise<void> {
    this._loading = true;
    this._touched.clear();
    const before = offers(this._machines);
    try {
      const [machines, kernels] = await Promise.all([
        this.client.listMachines(),
        this.client.listKernels()
      ]);
      const touched = this._machines?.filter(machine => this._touched.has(machine.name)) ?? [];
      this._machines = mergeMachines(machines, touched);
      this._rows.set(kernels);
      this._error = null;
    } catch (reason) {
      this._error = CloudMLError.from(reason);
    }
    const busy = this._machines?.some(m => m.state === 'starting' || m.state === 'stopping');
    const interval = this._error ? FIRST_RETRY : busy ? SOON : RECONCILE;
    this._poll.frequency = { interval, backoff: true, max: this._error ? SOON * 4 : RECONCILE };
    this._loading = false;
    this.emit();
    if (this._again) {
      this._again = false;
      this._settle();
    }
    if (this._error) {
      throw this._error;
    }
    if (before && before !== offers(this._machines)) {
      void this._specs.refreshSpecs().catch(() => undefined);
    }
  }

  private _onEvent(_: Event.IManager, emission: Event.Emission): void {
    if (emission.schema_id === EventIDs.machine) {
      this._onMachine(emission as unknown as IMachineEvent);
    } else if (emission.schema_id === EventIDs.kernel) {
      this._onKernel(emission as unknown as IKernelEvent);
    } else if (emission.schema_id === EventIDs.workspace) {
      this._workspaceChanged.emit(emission as unknown as IWorkspaceEvent);
    } else if (emission.schema_id === EventIDs.drift) {
      this._driftFound.emit((emission as unknown as IDriftEvent).kernel_id);
    } else if (emission.schema_id === EventIDs.dataset) {
      this._datasetsChanged.emit(String(emission['machine']));
    } else if (emission.schema_id === EventIDs.operation) {
      this._operationMoved.emit(emission as unknown as IOperationEvent);
    }
  }

  private _onMachine(event: IMachineEvent): void {
    if (!this._machines) {
      return;
    }
    const before = this.machine(event.name);
    const after = applyMachineEvent(this._machines, event, this.now());
    if (after) {
      this._touched.add(event.name);
      this._machines = after;
      this.emit();
    }
    // An event that is no step of a start may tell of anything, also of what it does not carry: a new name, a policy.
    if (!before || event.removed || (after && (!event.step || before.state !== event.state))) {
      this._settle();
    }
  }

  private _onKernel(event: IKernelEvent): void {
    if (this._rows.apply(event, this.now())) {
      this.emit();
    }
    // The event does not say how a kernel ended, nor where a new one belongs.
    if (event.state === 'ended') {
      void this._noteEnd(event);
    } else {
      this._settle();
    }
  }

  /** Ask at once how a kernel ended: the server may start another in its place within seconds. */
  private async _noteEnd(event: IKernelEvent): Promise<void> {
    try {
      this._rows.setAfterEnd(event, await this.client.listKernels());
      this.emit();
    } catch {
      this._settle();
    }
  }

  /** Take one snapshot soon, whatever else happens until then. */
  private _settle(): void {
    this._settling ||= window.setTimeout(() => {
      this._settling = 0;
      // A snapshot on its way was perhaps taken before what we heard of just now.
      if (this._loading) {
        this._again = true;
      } else {
        void this.refresh();
      }
    }, SETTLE);
  }

  private _onVisibility = (): void => {
    if (!document.hidden) {
      this._settle();
    }
  };

  private readonly _poll: Poll;
  private readonly _workspaceChanged = new Signal<this, IWorkspaceEvent>(this);
  private readonly _driftFound = new Signal<this, string>(this);
  private readonly _datasetsChanged = new Signal<this, string>(this);
  private readonly _operationMoved = new Signal<this, IOperationEvent>(this);
  private readonly _rows = new KernelRows();
  private readonly _touched = new Set<string>();
  private _machines: ReadonlyArray<IMachine> | null = null;
  private _error: CloudMLError | null = null;
  private _loading = false;
  private _again = false;
  private _settling = 0;
}

/** What decides which kernelspecs there are: the machines, and which of them have told theirs. */
function offers(machines: ReadonlyArray<IMachine> | null): string | null {
  return machines && JSON.stringify(machines.map(each => [each.name, each.state === 'running']));
}
