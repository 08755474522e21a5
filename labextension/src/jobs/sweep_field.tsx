import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { MOST, readSweep } from './sweeps';

/** How a sweep is written. */
export function sweepHelp(trans: TranslationBundle): string {
  return trans.__('Write NAME = VALUE, VALUE in each line, or JSON.');
}

/** A field for the values that a notebook is run with, each with each; how many runs that makes is said beside it. */
export function SweepField(props: {
  readonly text: string;
  readonly onChange: (text: string) => void;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { text, onChange, trans } = props;
  const sweep = readSweep(text);
  const isWrong = sweep === null || sweep.count > MOST;
  return (
    <>
      <label htmlFor="jp-cloudml-run-sweep">{trans.__('Run it with each of')}</label>
      <textarea
        id="jp-cloudml-run-sweep"
        className="jp-mod-styled jp-cloudml-area"
        rows={Math.min(5, text.split('\n').length)}
        spellCheck={false}
        placeholder="alpha = 1, 2, 3"
        aria-invalid={isWrong}
        value={text}
        onChange={event => onChange(event.target.value)}
      />
      {isWrong ? (
        <p className="jp-cloudml-invalid" role="alert">
          {sweep === null
            ? sweepHelp(trans)
            : trans.__('That is %1 runs; %2 is the most.', sweep.count.toLocaleString(), MOST)}
        </p>
      ) : (
        sweep.count > 0 && (
          <p className="jp-cloudml-hint" role="status">
            {trans._n('It makes one run.', 'It makes %1 runs.', sweep.count)}
          </p>
        )
      )}
    </>
  );
}
