import { IDifference, IDrift, IErrorBody } from '../types';

/** How what a kernel runs on compares with the Python that its notebook had here. */
export interface IKernelDrift {
  readonly kernel_id: string;
  readonly machine: string;
  readonly state: 'comparing' | 'done' | 'failed' | 'none';
  readonly error: IErrorBody | null;
  /** Somebody has waved the errors aside for this notebook. */
  readonly dismissed: boolean;
  /** Names the errors: with other ones it is another key. */
  readonly key: string | null;
  readonly found: IDrift | null;
  /** What is worth a quiet word. */
  readonly notes: ReadonlyArray<IDifference>;
}
