import { TranslationBundle } from '@jupyterlab/translation';

import { CloudMLError } from '../api';
import { duration } from '../text';
import { IDataset, ISynced } from './types';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** Bytes with their unit, a thousand of which is the next: `7 B`, `1.2 kB`, `340 MB`. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const text = unit === 0 || value >= 99.5 ? value.toFixed(0) : value.toFixed(1);
  return `${text} ${UNITS[unit] ?? ''}`;
}

/** How old a time is, in one unit: `3 s`, `5 min`, `2 h`, `40 d`. */
export function ageText(trans: TranslationBundle, ms: number): string {
  const hours = ms / 3_600_000;
  if (hours < 1) {
    return duration(trans, ms);
  }
  return hours < 48
    ? trans.__('%1 h', Math.floor(hours))
    : trans.__('%1 d', Math.floor(hours / 24));
}

/** `3 files · 1.2 GB`. */
export function contentText(trans: TranslationBundle, files: number, bytes: number): string {
  const count =
    files === 1 ? trans.__('1 file') : trans.__('%1 files', files.toLocaleString('en-US'));
  return `${count} · ${bytesText(bytes)}`;
}

/** A path of which the last names are what tells it from others: `…/data/images`. */
export function shortPath(path: string): string {
  const parts = path.split('/');
  return parts.length > 3 ? `…/${parts.slice(-2).join('/')}` : path;
}

/** What a dataset is, in a line. */
export function datasetText(trans: TranslationBundle, dataset: IDataset, now: number): string {
  const parts = dataset.synced_ms
    ? [
        contentText(trans, dataset.files, dataset.bytes),
        trans.__('synced %1 ago', ageText(trans, now - dataset.synced_ms))
      ]
    : [trans.__('not synced to its end yet')];
  if (dataset.pinned) {
    parts.push(trans.__('pinned'));
  }
  if (!dataset.there) {
    parts.push(trans.__('the folder is gone'));
  }
  return parts.join(' · ');
}

/** What a sync has done, in a line; the files that did not come are named. */
export function syncedText(trans: TranslationBundle, done: ISynced): string {
  const parts = [
    done.files > 0
      ? trans.__('%1 new', contentText(trans, done.files, done.bytes))
      : trans.__('nothing has changed')
  ];
  if (done.failed_count > 0) {
    const named = done.failed.slice(0, 3).map(each => `${each.name} (${each.why})`);
    parts.push(
      trans._n('1 did not come: ', '%1 did not come: ', done.failed_count) + named.join(', ')
    );
  }
  return parts.join('; ');
}

/** What is wrong with a service or a bucket, and what to do about it, for whom a page is in front of. */
export function failureText(
  trans: TranslationBundle,
  error: CloudMLError
): { readonly cause: string; readonly remedy: string } {
  const remedies: Record<string, string> = {
    no_such_bucket: trans.__('Look at its name, and at the endpoint and the profile.'),
    refused: trans.__('The credentials may not do this, or are wrong: try another profile.'),
    expired: trans.__('Sign in again, for example with “aws sso login”, then try again.'),
    clock_skew: trans.__('Set the clock of the computer that runs Jupyter.'),
    wrong_endpoint: trans.__('Look at the endpoint URL, and at the network.'),
    wrong_region: trans.__('Give the region of the bucket.'),
    no_credentials: trans.__(
      'Run “aws configure” on the computer that runs Jupyter, or give a profile.'
    ),
    no_such_profile: trans.__('Choose one that ~/.aws has.'),
    unavailable: trans.__('The service is overloaded or fails: try again later.'),
    no_server: trans.__('See that the Jupyter server runs.')
  };
  const causes: Record<string, string> = {
    no_such_bucket: trans.__('There is no such bucket there.'),
    refused: trans.__('The service refuses this.'),
    expired: trans.__('The sign-in has expired.'),
    no_credentials: trans.__('There are no credentials for S3.'),
    no_server: trans.__('The Jupyter server is not answering.')
  };
  const said = error.message.replace(/^(GET|HEAD) s3:\/+\S*: /, '');
  const cause = causes[error.code];
  // A hint that is about the very request says more than the one about its kind.
  const own = error.hint && !error.hint.includes('--') ? error.hint : '';
  return {
    cause: cause ? `${cause} (${said})` : said,
    remedy: own && error.code === 'refused' ? own : (remedies[error.code] ?? own)
  };
}
