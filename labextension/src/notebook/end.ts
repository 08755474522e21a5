import { TranslationBundle } from '@jupyterlab/translation';

import { size } from '../text';
import { IExit, IKernel } from '../types';

/** How a kernel ended, in a sentence or two. */
export function endText(trans: TranslationBundle, kernel: IKernel | null): string {
  const exit = kernel?.exit;
  if (!exit) {
    return kernel?.cause ?? trans.__('The kernel has ended.');
  }
  if (exit.oom) {
    return exit.peak_bytes
      ? trans.__(
          'Memory ran out on %1: the kernel was ended when it used %2.',
          kernel.machine,
          size(trans, exit.peak_bytes)
        )
      : trans.__('Memory ran out on %1, and the kernel was ended for it.', kernel.machine);
  }
  return exit.reason || kernel.cause || plain(trans, exit);
}

function plain(trans: TranslationBundle, exit: IExit): string {
  if (exit.signal !== null) {
    return trans.__('The kernel was ended by signal %1.', exit.signal);
  }
  return trans.__('The kernel has ended with exit code %1.', exit.code ?? '?');
}
