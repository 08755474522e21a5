import { CloudMLClient } from '../api';
import { IOperation } from '../types';
import { IDatasets, IMeasure, IPage, IPlace, IService, ISync } from './types';

/** The part of the REST API that serves data. Every method throws CloudMLError. */
export class DataClient {
  constructor(private readonly _client: CloudMLClient) {}

  /** A page of what lies below a prefix; of the buckets where there is no place. */
  list(service: IService, place: IPlace | null, after: string | null = null): Promise<IPage> {
    return this._client.send('POST', 'buckets/list', body(service, place, after));
  }

  /** Count objects and bytes below a prefix, a part of them at a time. */
  measure(service: IService, place: IPlace, after: string | null): Promise<IMeasure> {
    return this._client.send('POST', 'buckets/measure', body(service, place, after));
  }

  async profiles(): Promise<ReadonlyArray<string>> {
    return (await this._client.get<{ profiles: string[] }>('buckets/profiles')).profiles;
  }

  /** The datasets of a machine; it is asked. */
  datasets(machine: string): Promise<IDatasets> {
    return this._client.get(path(machine));
  }

  sync(machine: string, sync: ISync): Promise<IOperation> {
    return this._client.begin('POST', path(machine), sync);
  }

  /** Keep what a dataset has in the cache whatever comes, or no longer. */
  pin(machine: string, dataset: string, pinned: boolean): Promise<IDatasets> {
    return this._client.send('PATCH', path(machine), { dataset, pinned });
  }

  setQuota(machine: string, quota: number): Promise<IDatasets> {
    return this._client.send('PATCH', path(machine), { quota });
  }

  /** Drop from the cache what no pinned dataset has: of one dataset, or of all. Files in folders stay. */
  evict(machine: string, dataset: string): Promise<IDatasets> {
    const query = dataset ? `?dataset=${encodeURIComponent(dataset)}` : '';
    return this._client.send('DELETE', path(machine) + query);
  }
}

function path(machine: string): string {
  return `machines/${encodeURIComponent(machine)}/datasets`;
}

function body(service: IService, place: IPlace | null, after: string | null): object {
  return { ...service, ...place, ...(after === null ? {} : { after }) };
}
