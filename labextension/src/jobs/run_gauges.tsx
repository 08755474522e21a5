import { TranslationBundle } from '@jupyterlab/translation';
import { UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import { GaugesModel } from '../gauges';
import { Gauges } from '../panel/gauges';

/** How busy the machine of a run is, while it runs. */
export function RunGauges(props: {
  readonly gauges: GaugesModel;
  readonly machine: string;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { gauges, machine, trans } = props;
  return (
    <UseSignal signal={gauges.changed}>
      {() =>
        gauges.value && (
          <section
            className="jp-cloudml-run-gauges"
            aria-label={trans.__('How busy %1 is', machine)}
          >
            <Gauges
              gauges={gauges.value}
              says={own => trans.__('This run: %1', own)}
              trans={trans}
            />
          </section>
        )
      }
    </UseSignal>
  );
}
