import { JupyterFrontEnd } from '@jupyterlab/application';
import { ISessionContext } from '@jupyterlab/apputils';
import { Kernel } from '@jupyterlab/services';
import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

/** The kernels of the open documents and consoles. */
export class OpenKernels implements IDisposable {
  constructor(private readonly _shell: JupyterFrontEnd.IShell) {
    _shell.currentChanged?.connect(this._scan, this);
  }

  /** Emitted when the socket of one of them is lost. */
  get lost(): ISignal<this, Kernel.IKernelConnection> {
    return this._lost;
  }

  /** Emitted when the socket of one of them is open. */
  get connected(): ISignal<this, Kernel.IKernelConnection> {
    return this._connected;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      Signal.disconnectReceiver(this);
      Signal.clearData(this);
    }
  }

  /**
   * Open their sockets anew; without `all`, of those only that are not open.
   *
   * Lab alone waits for 10 to 30 s before it looks for a server that was not there, see KernelConnection.
   */
  reconnect(all: boolean): void {
    this._scan();
    const kernels = [...this._sessions].map(({ session }) => session?.kernel);
    for (const kernel of new Set(kernels)) {
      if (!kernel || kernel.isDisposed || kernel.status === 'dead') {
        continue;
      }
      if (all || kernel.connectionStatus !== 'connected') {
        // Rejected when the socket cannot be opened: Lab shows the kernel as disconnected then.
        kernel.reconnect().catch(() => undefined);
      }
    }
  }

  /** Whatever is opened becomes the current widget, so none is missed. */
  private _scan(): void {
    for (const widget of this._shell.widgets('main')) {
      const context = sessionContextOf(widget);
      if (context && !this._sessions.has(context)) {
        this._sessions.add(context);
        context.connectionStatusChanged.connect(this._onConnectionStatus, this);
        context.disposed.connect(this._forget, this);
        if (context.session?.kernel?.connectionStatus === 'connected') {
          this._onConnectionStatus(context);
        }
      }
    }
  }

  private _onConnectionStatus(context: ISessionContext): void {
    const kernel = context.session?.kernel;
    if (kernel?.connectionStatus === 'connected') {
      this._connected.emit(kernel);
    } else if (kernel) {
      this._lost.emit(kernel);
    }
  }

  private _forget(context: ISessionContext): void {
    this._sessions.delete(context);
  }

  private readonly _sessions = new Set<ISessionContext>();
  private readonly _connected = new Signal<this, Kernel.IKernelConnection>(this);
  private readonly _lost = new Signal<this, Kernel.IKernelConnection>(this);
  private _isDisposed = false;
}

/** Notebooks and consoles have one; there is no common type for it. */
function sessionContextOf(widget: Widget): ISessionContext | null {
  return (widget as Widget & { sessionContext?: ISessionContext }).sessionContext ?? null;
}
