import { TranslationBundle } from '@jupyterlab/translation';

import { IDifference } from '../types';

/** What must agree and does not, in a sentence: `ipykernel is 7.1 on box and 6.29 here`. */
export function errorsText(
  trans: TranslationBundle,
  errors: ReadonlyArray<IDifference>,
  label: string
): string {
  return errors
    .map(({ name, here, there }) =>
      trans.__(
        '%1 is %2 on %3 and %4 here',
        name === 'python' ? trans.__('Python') : name,
        there,
        label,
        here
      )
    )
    .join(', ');
}

/** How many other packages differ. */
export function notesText(
  trans: TranslationBundle,
  notes: ReadonlyArray<IDifference>,
  locked: boolean
): string {
  return locked
    ? trans._n(
        'One package is not as it was locked',
        '%1 packages are not as they were locked',
        notes.length
      )
    : trans._n('One package differs from here', '%1 packages differ from here', notes.length);
}

/** One package at two versions: `numpy 1.26 → 2.0`. */
export function differenceText(
  trans: TranslationBundle,
  { name, here, there }: IDifference
): string {
  return trans.__('%1 %2 → %3', name, here ?? trans.__('none'), there ?? trans.__('none'));
}
