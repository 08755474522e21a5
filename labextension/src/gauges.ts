import { Poll } from '@lumino/polling';

import { CloudMLClient, CloudMLError } from './api';
import { Observable } from './observable';
import { IMachineGauges, IProcessGauges } from './types';

/** What to measure; a kernel only where it is ours. */
export interface IGaugeTarget {
  readonly machine: string;
  readonly kernel: string | null;
}

/** How busy a machine is, and what one process there has of it. */
export interface IGauges {
  readonly machine: IMachineGauges;
  readonly own: IProcessGauges | null;
}

/** Read the gauges of a machine and of a kernel there. */
export async function gaugesOf(client: CloudMLClient, target: IGaugeTarget): Promise<IGauges> {
  const [{ machine }, own] = await Promise.all([
    client.machineGauges(target.machine),
    // A kernel that has just started or ended has no gauges: the machine's are still worth showing.
    target.kernel ? client.kernelGauges(target.kernel).catch(() => null) : null
  ]);
  return { machine, own };
}

/** Gauges that are read only while somebody looks. */
export class GaugesModel extends Observable {
  /** `read` gives null where there is nothing to measure. */
  constructor(
    private readonly _read: () => Promise<IGauges | null>,
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

  /** The last reading; null while there is none. */
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
    try {
      this._value = await this._read();
    } catch (reason) {
      this._value = null;
      throw CloudMLError.from(reason);
    } finally {
      this.emit();
    }
  }

  private readonly _poll: Poll;
  private _value: IGauges | null = null;
}
