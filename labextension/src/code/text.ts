import { TranslationBundle } from '@jupyterlab/translation';

import { IStartedWith } from '../types';
import { ICodeChanges, ICodeStatus, ISynced } from './types';

/** Which code it is: `main@3f2a1b2 +2 changed`; the folder's name where there is no commit. */
export function whichCode(trans: TranslationBundle, code: ICodeStatus): string {
  if (!code.short_commit) {
    return code.folder.split(/[\\/]/).pop() ?? code.folder;
  }
  const commit = `${code.branch ?? 'HEAD'}@${code.short_commit}`;
  return code.changed ? trans.__('%1 +%2 changed', commit, code.changed) : commit;
}

/** Which code a kernel was started with: `main@3f2a1b2 +2 changed`; empty where there was no commit. */
export function startedWith(
  trans: TranslationBundle,
  started: IStartedWith | null | undefined
): string {
  if (!started?.base_commit) {
    return '';
  }
  const commit = `${started.branch ?? 'HEAD'}@${started.base_commit.slice(0, 7)}`;
  const changed = started.diffstat?.files;
  return changed ? trans.__('%1 +%2 changed', commit, changed) : commit;
}

/** How many files differ from what the machine was sent; empty where none does. */
export function unsentText(trans: TranslationBundle, code: ICodeStatus): string {
  return code.synced_ms !== null && code.unsent
    ? trans._n('%1 file to send', '%1 files to send', code.unsent)
    : '';
}

/** What was changed on the machine, but for the conflicts that are known already; empty where nothing was. */
export function thereText(
  trans: TranslationBundle,
  there: ICodeChanges,
  conflicts: ReadonlyArray<string>,
  label: string
): string {
  const files = [...there.changed, ...there.gone];
  const count = files.filter(file => !conflicts.includes(file)).length;
  if (there.more) {
    return trans.__('More than %1 files changed on %2', count, label);
  }
  return count ? trans._n('%1 file changed on %2', '%1 files changed on %2', count, label) : '';
}

/** What a sync has done, in a line. */
export function doneText(trans: TranslationBundle, done: ISynced): string {
  const parts: string[] = [];
  const { taken, deleted, sent, dropped } = done;
  if (taken.length > 0) {
    parts.push(trans._n('%1 file came back', '%1 files came back', taken.length));
  }
  if (deleted.length > 0) {
    parts.push(trans._n('%1 deleted here', '%1 deleted here', deleted.length));
  }
  if (sent > 0) {
    parts.push(trans._n('%1 file sent', '%1 files sent', sent));
  }
  if (dropped > 0) {
    parts.push(trans._n('%1 deleted there', '%1 deleted there', dropped));
  }
  if (parts.length === 0) {
    return done.conflicts.length > 0 ? '' : trans.__('Nothing has changed.');
  }
  return parts.join(' · ');
}
