import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { bytesText } from '../datasets/text';
import { Fold } from './run_parts';
import { IData, IPackages } from './types';

/** Lines above which a list has a filter. */
const MANY = 20;

/** A list that is filtered by what somebody types, where it is long. */
function Lines(props: {
  readonly lines: ReadonlyArray<string>;
  readonly label: string;
  readonly filter: string;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { lines, label, filter, trans } = props;
  const [text, setText] = React.useState('');
  const wanted = text.trim().toLowerCase();
  const shown = lines.filter(each => each.toLowerCase().includes(wanted));
  return (
    <>
      {lines.length > MANY && (
        <div className="jp-cloudml-filter">
          <input
            className="jp-mod-styled"
            type="search"
            aria-label={filter}
            placeholder={filter}
            value={text}
            onChange={event => setText(event.target.value)}
          />
          <span className="jp-cloudml-detail" role="status">
            {trans.__('%1 of %2', shown.length, lines.length)}
          </span>
        </div>
      )}
      <ul className="jp-cloudml-lines" aria-label={label} tabIndex={0}>
        {shown.map(each => (
          <li key={each}>{each}</li>
        ))}
      </ul>
    </>
  );
}

/** The packages that a run had. */
export function Packages(props: {
  readonly packages: IPackages;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { packages: found, trans } = props;
  const { lock_sha256: lock, packages = [], packages_sha256: sha256 } = found;
  return (
    <Fold title={trans._n('One package', '%1 packages', packages.length)}>
      {sha256 && (
        <p className="jp-cloudml-hint">
          {trans.__('SHA-256 of this list: %1', sha256)}
          {lock && <> · {trans.__('of the lock of its environment: %1', lock)}</>}
        </p>
      )}
      <Lines
        lines={packages}
        label={trans.__('Packages')}
        filter={trans.__('Filter the packages')}
        trans={trans}
      />
    </Fold>
  );
}

/** The data that a run has asked for, each as it was. */
export function Data(props: {
  readonly data: ReadonlyArray<IData>;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { data, trans } = props;
  return (
    <Fold title={trans._n('One dataset', '%1 datasets', data.length)}>
      <table className="jp-cloudml-table">
        <thead>
          <tr>
            <th scope="col">{trans.__('Data')}</th>
            <th scope="col">{trans.__('State')}</th>
            <th scope="col">{trans.__('Files')}</th>
            <th scope="col">{trans.__('Size')}</th>
          </tr>
        </thead>
        <tbody>
          {data.map(({ source, folder, state, total_bytes: bytes, total_files: files }, at) => (
            <tr key={at} title={folder}>
              <td className="jp-cloudml-free">{source}</td>
              <td className="jp-cloudml-free">{state ?? ''}</td>
              <td>{files?.toLocaleString() ?? ''}</td>
              <td>{typeof bytes === 'number' ? bytesText(bytes) : ''}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Fold>
  );
}
