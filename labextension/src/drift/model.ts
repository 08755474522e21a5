import { Observable } from '../observable';
import { ICloudML } from '../tokens';
import { IDifference } from '../types';
import { IKernelDrift } from './types';

const MAX_KEPT = 100;

/** What must agree and does not. */
export function errorsOf(drift: IKernelDrift | null): ReadonlyArray<IDifference> {
  return drift?.found?.differences.filter(each => each.level === 'error') ?? [];
}

/** How the packages of kernels on machines compare with those here, as the server finds out beside their start. */
export class DriftModel extends Observable<IKernelDrift> {
  constructor(private readonly _model: ICloudML) {
    super();
    _model.driftFound.connect(this._onFound, this);
  }

  /** What is known of a kernel; asked for once where nothing is known yet. */
  get(kernelId: string | null): IKernelDrift | null {
    if (!kernelId || !this._model.kernel(kernelId)) {
      return null;
    }
    const known = this._known.get(kernelId);
    if (known === undefined) {
      this._known.set(kernelId, null);
      void this.load(kernelId);
    }
    return known ?? null;
  }

  /** Ask the server what it knows of a kernel. */
  async load(kernelId: string): Promise<void> {
    try {
      const path = `kernels/${encodeURIComponent(kernelId)}/drift`;
      this._keep(await this._model.client.get<IKernelDrift>(path));
    } catch {
      // The kernel is gone, or the server: both are told elsewhere.
    }
  }

  /** Say which kernel here a notebook has left for this one. */
  async noteBefore(kernelId: string, spec: string): Promise<void> {
    await this._post(kernelId, 'drift', { spec });
  }

  /** Wave the errors aside for this notebook. */
  async dismiss(kernelId: string): Promise<void> {
    await this._post(kernelId, 'drift/dismiss', {});
    await this.load(kernelId);
  }

  protected override release(): void {
    this._model.driftFound.disconnect(this._onFound, this);
  }

  private _post(kernelId: string, path: string, body: object): Promise<unknown> {
    return this._model.client
      .post(`kernels/${encodeURIComponent(kernelId)}/${path}`, body)
      .catch(() => undefined);
  }

  private _onFound(_: unknown, kernelId: string): void {
    void this.load(kernelId);
  }

  private _keep(drift: IKernelDrift): void {
    if (this.isDisposed) {
      return;
    }
    this._known.delete(drift.kernel_id);
    this._known.set(drift.kernel_id, drift);
    for (const oldest of this._known.keys()) {
      if (this._known.size <= MAX_KEPT) {
        break;
      }
      this._known.delete(oldest);
    }
    this.emit(drift);
  }

  private readonly _known = new Map<string, IKernelDrift | null>();
}
