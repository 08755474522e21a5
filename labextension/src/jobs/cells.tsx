import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { IRunCell, RunCells } from './fold';
import { Mark } from './marks';
import { Outputs, Text } from './outputs';
import { cellWord, preciseDuration } from './words';

/** Cells that are in the page at once, however many there are. */
export const PAGE = 50;

/** How long a cell ran, or runs. */
export function cellTook(
  trans: TranslationBundle,
  started: number | null,
  ended: number | null,
  now: number
): string {
  return started === null ? '' : preciseDuration(trans, (ended ?? now) - started);
}

interface ICellProps {
  readonly cell: IRunCell;
  readonly now: number;
  readonly rendermime: IRenderMimeRegistry;
  readonly trans: TranslationBundle;
}

/** One cell: its state in words, its source and its outputs. */
const Cell = React.memo(function Cell({ cell, now, rendermime, trans }: ICellProps): JSX.Element {
  const number = cell.index + 1;
  if (cell.type !== 'code') {
    return (
      <li className="jp-cloudml-cell" data-cell={cell.index}>
        {cell.type === 'markdown' ? (
          <Text source={cell.source} rendermime={rendermime} />
        ) : (
          <pre className="jp-cloudml-source">{cell.source}</pre>
        )}
      </li>
    );
  }
  const took = cellTook(trans, cell.started, cell.ended, now);
  const word = cellWord(trans, cell.status);
  return (
    <li className="jp-cloudml-cell" data-cell={cell.index} data-status={cell.status}>
      <div className="jp-cloudml-row-line">
        <Mark state={cell.status} />
        <span className="jp-cloudml-cell-name">{trans.__('Cell %1', number)}</span>
        <span className="jp-cloudml-detail">{[word, took].filter(Boolean).join(' · ')}</span>
      </div>
      <pre
        className="jp-cloudml-source"
        tabIndex={0}
        role="region"
        aria-label={trans.__('Source of cell %1', number)}
      >
        {cell.source}
      </pre>
      {cell.hidden > 0 && (
        <p className="jp-cloudml-hint">
          {trans.__(
            'Not all outputs of this cell are shown here: the executed notebook has the rest.'
          )}
        </p>
      )}
      {cell.outputs.length > 0 && (
        <div tabIndex={0} role="region" aria-label={trans.__('Outputs of cell %1', number)}>
          <Outputs outputs={cell.outputs} rendermime={rendermime} />
        </div>
      )}
    </li>
  );
});

/** A page of the cells of a run. */
export function Cells(props: {
  readonly cells: RunCells;
  readonly first: number;
  readonly now: number;
  readonly rendermime: IRenderMimeRegistry;
  readonly trans: TranslationBundle;
  readonly onPage: (first: number) => void;
}): JSX.Element {
  const { cells, first, now, rendermime, trans, onPage } = props;
  const last = Math.min(cells.length, first + PAGE);
  const shown: IRunCell[] = [];
  for (let index = first; index < last; index++) {
    const cell = cells.cell(index);
    if (cell) {
      shown.push(cell);
    }
  }
  return (
    <>
      {cells.length > PAGE && (
        <nav className="jp-cloudml-pages" aria-label={trans.__('Cells')}>
          <button
            type="button"
            className="jp-cloudml-button"
            disabled={first === 0}
            onClick={() => onPage(Math.max(0, first - PAGE))}
          >
            {trans.__('Earlier cells')}
          </button>
          <span className="jp-cloudml-detail" role="status">
            {trans.__('%1–%2 of %3', first + 1, last, cells.length.toLocaleString())}
          </span>
          <button
            type="button"
            className="jp-cloudml-button"
            disabled={last >= cells.length}
            onClick={() => onPage(first + PAGE)}
          >
            {trans.__('Later cells')}
          </button>
        </nav>
      )}
      <ol className="jp-cloudml-cells" aria-label={trans.__('Cells of the run')}>
        {shown.map(cell => (
          <Cell
            key={cell.index}
            cell={cell}
            now={cell.status === 'running' ? now : 0}
            rendermime={rendermime}
            trans={trans}
          />
        ))}
      </ol>
    </>
  );
}
