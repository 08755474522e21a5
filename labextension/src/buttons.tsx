import * as React from 'react';

import { showFailure } from './commands';

/** What a button says, what it is called, and what it does. */
export type Act = readonly [text: string, name: string, act: () => void | Promise<unknown>];

/** What buttons do of which one works at a time: whether one does, and the handler of an act. */
export function useActs(): [busy: boolean, on: (act: Act[2]) => () => void] {
  const [busy, setBusy] = React.useState(false);
  const on = (act: Act[2]) => () => {
    const work = busy ? undefined : act();
    if (work) {
      setBusy(true);
      void work.catch(showFailure).finally(() => setBusy(false));
    }
  };
  return [busy, on];
}

/** Buttons of one thing, of which one works at a time. */
export function Buttons({ acts }: { readonly acts: ReadonlyArray<Act> }): JSX.Element {
  const [busy, on] = useActs();
  return (
    <>
      {acts.map(([text, name, act], at) => (
        <button
          // By its place: one that turns into its opposite keeps the focus.
          key={at}
          type="button"
          className="jp-cloudml-button"
          aria-label={name}
          title={name}
          // Not `disabled`: the focus, and the dialog that gives it back, need the button.
          aria-disabled={busy}
          onClick={on(act)}
        >
          {text}
        </button>
      ))}
    </>
  );
}
