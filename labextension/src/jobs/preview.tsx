import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { IFileCell, ISelection } from './types';

/** Cells that are shown before a run. */
const SHOWN = 200;

function sourceOf(cell: IFileCell): string {
  return typeof cell.source === 'string' ? cell.source : cell.source.join('');
}

/** The notebook that selected cells make, and the cells before them that come along unless they are left out. */
export function Preview(props: {
  readonly cells: ReadonlyArray<[number, IFileCell]>;
  readonly chosen: ReadonlySet<number>;
  readonly found: ISelection;
  readonly left: ReadonlySet<number>;
  readonly onLeave: (index: number, leave: boolean) => void;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { cells, chosen, found, left, onLeave, trans } = props;
  return (
    <>
      {found.needed.length > 0 && (
        <fieldset className="jp-cloudml-needed">
          <legend>{trans.__('Cells before them that they need')}</legend>
          {found.needed.map(({ index, names }) => (
            <label key={index}>
              <input
                type="checkbox"
                checked={!left.has(index)}
                onChange={event => onLeave(index, !event.target.checked)}
              />
              <span>
                {names.includes('*')
                  ? trans.__('Cell %1, which may give names that are missing', index + 1)
                  : trans.__('Cell %1 for %2', index + 1, names.slice(0, 8).join(', '))}
              </span>
            </label>
          ))}
        </fieldset>
      )}
      {found.unread.length > 0 && (
        <p className="jp-cloudml-hint">
          {trans.__(
            'What cell %1 needs cannot be told: it is no Python that can be read.',
            found.unread.map(each => each + 1).join(', ')
          )}
        </p>
      )}
      <ol
        className="jp-cloudml-preview"
        aria-label={trans.__('The notebook that is run')}
        tabIndex={0}
      >
        {cells.slice(0, SHOWN).map(([place, cell]) => (
          <li key={place} data-chosen={chosen.has(place)}>
            <span className="jp-cloudml-hint">
              {chosen.has(place)
                ? trans.__('Cell %1', place + 1)
                : trans.__('Cell %1, needed', place + 1)}
            </span>
            <pre className="jp-cloudml-source">{sourceOf(cell)}</pre>
          </li>
        ))}
      </ol>
      {cells.length > SHOWN && (
        <p className="jp-cloudml-hint">{trans.__('and %1 more cells', cells.length - SHOWN)}</p>
      )}
    </>
  );
}
