import { Kernel, KernelMessage } from '@jupyterlab/services';
import { PromiseDelegate } from '@lumino/coreutils';

import { IExecution, IInputRequest, IRecordedMessage } from './types';

type Request = KernelMessage.IExecuteRequestMsg;
type Reply = KernelMessage.IExecuteReplyMsg;

/**
 * Stands in an output area for an execution that this page's kernel connection does not feed.
 *
 * The output area must be fed through its future: only its own handler keeps the map of displays that later
 * updates need. The kernel connection knows nothing of this future.
 */
export class RecordedFuture implements Kernel.IShellFuture<Request, Reply> {
  /** Without a kernel nothing can be answered: it has ended. */
  constructor(
    msgId: string,
    code: string,
    private readonly _kernel: Kernel.IKernelConnection | null
  ) {
    this.msg = KernelMessage.createMessage<Request>({
      msgType: 'execute_request',
      channel: 'shell',
      session: _kernel?.clientId ?? '',
      msgId,
      content: { code }
    });
    this._done.promise.catch(() => undefined);
  }

  readonly msg: Request;

  onIOPub: (msg: KernelMessage.IIOPubMessage) => void | PromiseLike<void> = () => undefined;
  onReply: (msg: Reply) => void | PromiseLike<void> = () => undefined;
  onStdin: (msg: KernelMessage.IStdinMessage) => void | PromiseLike<void> = () => undefined;

  /** Resolved when the execution has ended; rejected when the output area lets go of it before. */
  get done(): Promise<Reply> {
    return this._done.promise;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Hand one recorded message to the output area. */
  feed(message: IRecordedMessage): void {
    if (this._isDisposed) {
      return;
    }
    if (message.content['name'] === 'stdin' && this._echoes > 0) {
      this._echoes -= 1; // The input box of this page has written it.
      return;
    }
    void this.onIOPub(this._message('iopub', message.type, message));
  }

  /** Show an input box for a line that the kernel waits for; whichever page answers first is heard. */
  ask(request: IInputRequest): void {
    if (this._isDisposed || !this._kernel) {
      return;
    }
    this._kernel.hasPendingInput = true;
    const message = this._message<KernelMessage.IStdinMessage>('stdin', 'input_request', {
      content: request.content
    });
    void this.onStdin({
      ...message,
      header: request.header
    } as unknown as KernelMessage.IStdinMessage);
  }

  /** The kernel waits no longer; the output area has to know before it can ask again. */
  stopAsking(): void {
    if (this._kernel) {
      this._kernel.hasPendingInput = false;
    }
    this.feed({ type: 'status', content: { execution_state: 'idle' }, metadata: {} });
  }

  registerMessageHook(): void {
    /* Recorded messages have no hooks. */
  }

  removeMessageHook(): void {
    /* See registerMessageHook. */
  }

  sendInputReply(
    content: KernelMessage.IInputReplyMsg['content'],
    parent: KernelMessage.IInputReplyMsg['parent_header']
  ): void {
    this._echoes += 1;
    this._kernel?.sendInputReply(content, parent);
  }

  /** The execution has ended. The reply is made up of what is recorded of it. */
  finish({ status, execution_count, payload }: IExecution): void {
    const { msg } = this;
    const reply = {
      channel: 'shell',
      header: { ...msg.header, msg_type: 'execute_reply' },
      parent_header: msg.header,
      content: { status, execution_count, payload: payload ?? [] },
      metadata: {},
      buffers: []
    } as unknown as Reply;
    void this.onReply(reply); // The output area shows the pages of the payload.
    this._done.resolve(reply);
  }

  /** The output area calls this when the cell runs again or goes away. */
  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._done.reject(new Error('Canceled'));
    }
  }

  private _message<T extends KernelMessage.IMessage = KernelMessage.IIOPubMessage>(
    channel: 'iopub' | 'stdin',
    type: string,
    parts: Partial<IRecordedMessage>
  ): T {
    // Built by hand, as the types of createMessage do not take a type known at run time only.
    return {
      channel,
      header: { ...this.msg.header, msg_type: type },
      parent_header: this.msg.header,
      content: parts.content ?? {},
      metadata: parts.metadata ?? {},
      buffers: (parts.buffers ?? []).map(decode)
    } as unknown as T;
  }

  /** Answers given in this page that the record has not brought back yet. */
  private _echoes = 0;
  private readonly _done = new PromiseDelegate<Reply>();
  private _isDisposed = false;
}

function decode(base64: string): ArrayBuffer {
  return Uint8Array.from(atob(base64), char => char.charCodeAt(0)).buffer;
}
