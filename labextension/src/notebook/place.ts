import { ISessionContext } from '@jupyterlab/apputils';
import { KernelSpec } from '@jupyterlab/services';

import { CloudMLModel } from '../model';
import { Observable } from '../observable';
import { LOCAL, specMachine } from '../specs';
import { IKernel, IMachine, IStep } from '../types';

export type PlaceState =
  'none' | 'moving' | 'starting' | 'running' | 'reconnecting' | 'stopped' | 'ended';

/** Where a notebook's kernel runs and how it is. */
export interface IPlace {
  readonly state: PlaceState;
  /** The machine's name; null without a kernel. */
  readonly machine: string | null;
  readonly kernelId: string | null;
  /** The kernelspec's title. */
  readonly kernelTitle: string;
  /** Whether the kernel is ours and so outlives the server. */
  readonly durable: boolean;
  readonly since_ms: number | null;
  readonly cause: string | null;
  readonly step: IStep | null;
}

const NOWHERE: IPlace = {
  state: 'none',
  machine: null,
  kernelId: null,
  kernelTitle: '',
  durable: false,
  since_ms: null,
  cause: null,
  step: null
};

/** What is true of a kernel, from what the server says of it and of its machine. */
export function placeOf(
  kernel: { id: string; name: string },
  spec: KernelSpec.ISpecModel | undefined,
  row: IKernel | null,
  machine: IMachine | null,
  status: string
): IPlace {
  const name = row?.machine ?? specMachine(spec);
  const place: IPlace = {
    ...NOWHERE,
    machine: name ?? LOCAL,
    kernelId: kernel.id,
    kernelTitle: spec?.display_name ?? kernel.name,
    durable: name !== null
  };
  if (row && row.state !== 'connected') {
    const state = row.state;
    return {
      ...place,
      state,
      since_ms: row.since_ms,
      cause: row.cause,
      step: machine?.step ?? null
    };
  }
  if (machine?.state === 'unreachable') {
    return { ...place, state: 'reconnecting', since_ms: machine.since_ms, cause: machine.cause };
  }
  if (status === 'dead') {
    return { ...place, state: 'ended' };
  }
  const starting = ['starting', 'restarting', 'autorestarting', 'initializing'].includes(status);
  return { ...place, state: starting ? 'starting' : 'running' };
}

/** Follows where the kernel of one document runs. */
export class NotebookPlace extends Observable<IPlace> {
  constructor(
    readonly context: ISessionContext,
    private readonly _model: CloudMLModel
  ) {
    super();
    context.kernelChanged.connect(this._update, this);
    context.statusChanged.connect(this._update, this);
    context.connectionStatusChanged.connect(this._update, this);
    _model.changed.connect(this._update, this);
    _model.specs.specsChanged.connect(this._update, this);
    this._update();
  }

  get value(): IPlace {
    return this._value;
  }

  /** Name the machine that the notebook is on its way to, or null when it has arrived. */
  setMoving(machine: string | null): void {
    this._moving = machine;
    this._since = this._model.now();
    this._update();
  }

  private _update(): void {
    this._value = this._compute();
    this.emit(this._value);
  }

  private _compute(): IPlace {
    if (this._moving !== null) {
      const step = this._model.machine(this._moving)?.step ?? null;
      const since_ms = this._since;
      return { ...NOWHERE, state: 'moving', machine: this._moving, durable: true, since_ms, step };
    }
    const kernel = this.context.session?.kernel;
    const specs = this._model.specs.specs?.kernelspecs;
    if (!kernel) {
      const waiting = this.context.kernelDisplayStatus === 'initializing';
      const wanted = this.context.kernelPreference.name;
      const spec = wanted ? specs?.[wanted] : undefined;
      const kernelTitle = spec?.display_name ?? '';
      return waiting
        ? { ...NOWHERE, state: 'starting', machine: specMachine(spec) ?? LOCAL, kernelTitle }
        : NOWHERE;
    }
    const row = this._model.kernel(kernel.id);
    const spec = specs?.[kernel.name];
    const machine = this._model.machine(row?.machine ?? specMachine(spec));
    return placeOf(kernel, spec, row, machine, this.context.kernelDisplayStatus);
  }

  private _value: IPlace = NOWHERE;
  private _moving: string | null = null;
  private _since = 0;
}
