import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Act, Buttons } from '../buttons';
import { bytesText } from '../datasets/text';
import { JobsClient } from './client';
import { download } from './files';
import { IArtifact, INotice, IRunDetail } from './types';
import { fileName, timeText } from './words';

/** What was made of a run, the newest attempt first, its log, and what it has written: each with its size, to be downloaded. */
export function Files(props: {
  readonly run: IRunDetail;
  readonly client: JobsClient;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { client, run, trans } = props;
  const last = run.attempts.length;
  const stem = fileName(run.provenance.notebook).replace(/\.ipynb$/, '') || run.job;
  const keep = (kind: 'notebook' | 'html' | 'log', attempt: number, ending: string): Act => {
    const name = `${stem}-${run.id}${attempt < last ? `-${attempt}` : ''}.${ending}`;
    return [
      trans.__('Download'),
      trans.__('Download %1', name),
      async () => download(await client.file(run.id, kind, attempt < last ? attempt : null), name)
    ];
  };
  const made = [...(run.artifacts ?? [])].sort((a, b) => b.attempt - a.attempt);
  const row = (artifact: IArtifact) => {
    const { kind, attempt, bytes } = artifact;
    const isPage = kind === 'html';
    // A page is kept of the last attempt alone.
    const act =
      kind === 'notebook'
        ? keep('notebook', attempt, 'ipynb')
        : isPage && attempt === last
          ? keep('html', attempt, 'html')
          : null;
    const words = isPage ? trans.__('Page') : kind === 'notebook' ? trans.__('Notebook') : kind;
    return (
      <tr
        key={`${kind} ${attempt}`}
        title={artifact.sha256 ? `SHA-256 ${artifact.sha256}` : undefined}
      >
        <td>{words}</td>
        <td>{attempt}</td>
        <td>{bytes === null ? '' : bytesText(bytes)}</td>
        <td>{act && <Buttons acts={[act]} />}</td>
      </tr>
    );
  };
  const { files = [], left = [], more = 0 } = run.files ?? {};
  const unseen = left.length + more;
  return (
    <>
      <table className="jp-cloudml-table">
        <thead>
          <tr>
            <th scope="col">{trans.__('File')}</th>
            <th scope="col">{trans.__('Attempt')}</th>
            <th scope="col">{trans.__('Size')}</th>
            <th scope="col">{trans.__('Download')}</th>
          </tr>
        </thead>
        <tbody>
          {made.map(row)}
          <tr>
            <td>{trans.__('Log')}</td>
            <td>{last}</td>
            <td />
            <td>
              <Buttons acts={[keep('log', last, 'txt')]} />
            </td>
          </tr>
          {files.map(({ path, bytes, new: isNew }) => (
            <tr key={`file ${path}`}>
              <td className="jp-cloudml-free">{isNew ? path : trans.__('%1, changed', path)}</td>
              <td>{last}</td>
              <td>{bytesText(bytes)}</td>
              <td>
                <Buttons
                  acts={[
                    [
                      trans.__('Download'),
                      trans.__('Download %1', path),
                      async () => download(await client.written(run.id, path), fileName(path))
                    ]
                  ]}
                />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {unseen > 0 && (
        <p className="jp-cloudml-hint">
          {trans._n(
            'One more file that it has written was not brought back, for its size or their number.',
            '%1 more files that it has written were not brought back, for their size or number.',
            unseen
          )}{' '}
          {left.map(each => each.path).join(', ')}
        </p>
      )}
    </>
  );
}

function noticeWord(trans: TranslationBundle, notice: INotice): string {
  const words: Record<string, string> = {
    waiting:
      notice.tries > 0
        ? trans._n(
            'not delivered yet, tried once',
            'not delivered yet, tried %1 times',
            notice.tries
          )
        : trans.__('to be sent'),
    sent: trans.__('sent'),
    given_up: trans._n('given up after one try', 'given up after %1 tries', notice.tries)
  };
  return words[notice.state] ?? notice.state;
}

/** Who was told of the end of a run, and why that has failed. */
export function Notices(props: {
  readonly notices: ReadonlyArray<INotice>;
  readonly now: number;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { notices, now, trans } = props;
  const about: Record<string, string> = {
    failure: trans.__('failure'),
    recovery: trans.__('recovery'),
    success: trans.__('success')
  };
  return (
    <table className="jp-cloudml-table">
      <thead>
        <tr>
          <th scope="col">{trans.__('To')}</th>
          <th scope="col">{trans.__('About')}</th>
          <th scope="col">{trans.__('State')}</th>
          <th scope="col">{trans.__('Why')}</th>
        </tr>
      </thead>
      <tbody>
        {notices.map((each, at) => (
          <tr key={at}>
            <td className="jp-cloudml-free">{each.to}</td>
            <td>{about[each.about] ?? each.about}</td>
            <td>
              {noticeWord(trans, each)}
              {each.sent_ms !== null && ` · ${timeText(each.sent_ms, now)}`}
            </td>
            <td className="jp-cloudml-why jp-cloudml-free">
              {each.state === 'sent' ? '' : (each.error ?? '')}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
