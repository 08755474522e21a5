import { Poll } from '@lumino/polling';

import { CloudMLClient, CloudMLError } from './api';
import { Observable } from './observable';
import { IKernelGauges, IMachineGauges } from './types';

/** What to measure; a kernel only where it is ours. */
export interface IGaugeTarget {
  readonly machine: string;
  readonly kernel: string | null;
}

export interface IGauges {
  readonly machine: IMachineGauges;
  readonly kernel: IKernelGauges | null;
}

/** Reads the gauges of one machine and kernel, only while somebody looks. */
export class GaugesModel extends Observable {
  constructor(
    private readonly _client: CloudMLClient,
    private readonly _target: () => IGaugeTarget | null,
    visible: () => boolean
  ) {
    super();
    this._poll = new Poll({
      name: 'jupyter-cloudml:gauges',
      auto: true,
      factory: () => this._load(),
      frequency: { interval: 3000, backoff: true, max: 30_000 },
      standby: () => !visible() || document.hidden
    });
  }

  /** The last reading; null while there is none for the target. */
  get value(): IGauges | null {
    return this._value;
  }

  /** Set the seconds between two readings. */
  setInterval(seconds: number): void {
    this._poll.frequency = { interval: seconds * 1000, backoff: true, max: 60_000 };
  }

  /** Read now, if somebody looks. */
  refresh(): void {
    void this._poll.refresh();
  }

  protected override release(): void {
    this._poll.dispose();
  }

  private async _load(): Promise<void> {
    const target = this._target();
    try {
      this._value = target ? await this._read(target) : null;
    } catch (reason) {
      this._value = null;
      throw CloudMLError.from(reason);
    } finally {
      this.emit();
    }
  }

  private async _read(target: IGaugeTarget): Promise<IGauges> {
    const [machine, kernel] = await Promise.all([
      this._client.machineGauges(target.machine),
      // A kernel that has just started or ended has no gauges: the machine's are still worth showing.
      target.kernel ? this._client.kernelGauges(target.kernel).catch(() => null) : null
    ]);
    return { machine, kernel };
  }

  private readonly _poll: Poll;
  private _value: IGauges | null = null;
}
