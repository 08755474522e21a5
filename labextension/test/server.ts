import { Event } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';

import { CloudMLClient } from '../src/api';
import { EventIDs } from '../src/events';
import { JobsModel } from '../src/jobs/model';
import { ICloudML } from '../src/tokens';

/** Words as they are written here. */
export const trans = {
  __: (text: string, ...args: unknown[]) =>
    text.replace(/%(\d)/g, (_, n) => String(args[Number(n) - 1])),
  _n: (one: string, many: string, n: number) => (n === 1 ? one : many).replace('%1', String(n))
} as unknown as TranslationBundle;

type Answer = (body: unknown) => unknown;

/** A server whose answers a test gives: at once, or when its promise resolves. */
export class Server {
  /** What was asked for, in order: `GET runs/1`. */
  readonly asked: string[] = [];
  /** What the server would push. */
  readonly events = { stream: new Signal<object, Event.Emission>({}) };
  time = 1_000_000;

  /** Answer what begins so, from now on; what is said last counts. */
  on(start: string, answer: Answer): void {
    this._answers.unshift([start, answer]);
  }

  /** How often something that begins so was asked for. */
  count(start: string): number {
    return this.asked.filter(each => each.startsWith(start)).length;
  }

  push(event: keyof typeof EventIDs, said: object): void {
    this.events.stream.emit({ schema_id: EventIDs[event], ...said } as unknown as Event.Emission);
  }

  get client(): CloudMLClient {
    const answer = async (method: string, path: string, body?: unknown) => {
      const asked = `${method} ${path}`;
      this.asked.push(asked);
      const found = this._answers.find(([start]) => asked.startsWith(start));
      if (!found) {
        throw new Error(`nobody answers ${asked}`);
      }
      return found[1](body);
    };
    return {
      clockOffset: 0,
      get: (path: string) => answer('GET', path),
      ask: (path: string, body: object) => answer('POST', path, body),
      processes: (name: string) => answer('GET', `processes ${name}`),
      machineGauges: (name: string) => answer('GET', `gauges ${name}`),
      listMachines: () => answer('GET', 'machines'),
      listKernels: () => answer('GET', 'kernels')
    } as unknown as CloudMLClient;
  }

  jobs(): JobsModel {
    const model = { client: this.client, now: () => this.time };
    return new JobsModel(model as unknown as ICloudML, this.events as unknown as Event.IManager);
  }

  private readonly _answers: [string, Answer][] = [];
}

/** An answer that is given later. */
export class Later<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;

  constructor() {
    let settle: [(value: T) => void, (reason: unknown) => void];
    this.promise = new Promise<T>((resolve, reject) => {
      settle = [resolve, reject];
    });
    [this.resolve, this.reject] = settle!;
  }
}
