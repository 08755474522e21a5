import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CodeModel } from '../code/model';
import { startedWith } from '../code/text';
import { endText } from '../notebook/end';
import { IPlace } from '../notebook/place';
import { Elapsed } from '../presentation';
import { ICloudMLSettings } from '../settings';
import { duration, hardware, stepText } from '../text';
import { CommandIDs, ICloudML, ICurrentNotebook, IDrift } from '../tokens';

/** What the section about the notebook in front needs. */
export interface ISectionProps {
  readonly model: ICloudML;
  readonly notebook: ICurrentNotebook;
  readonly code: CodeModel;
  readonly drift: IDrift | null;
  readonly settings: ICloudMLSettings;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
}

/** What the user can do now: label, accessible name and act. */
type Act = readonly [label: string, name: string, act: () => void];

/** The line under the machine's name. */
export function PlaceDetail({
  place,
  props
}: {
  place: IPlace;
  props: ISectionProps;
}): JSX.Element {
  const { model, trans } = props;
  const format = (ms: number) => duration(trans, ms);
  const elapsed = place.since_ms !== null && (
    <Elapsed since={place.since_ms} now={() => model.now()} format={format} />
  );
  switch (place.state) {
    case 'reconnecting':
      return (
        <>
          {trans.__('Nothing is lost: output arrives with the connection.')} {elapsed}
          {place.cause ? ` · ${place.cause}` : ''}
        </>
      );
    case 'moving':
    case 'starting':
      return (
        <>
          {place.step ? stepText(trans, place.step) : trans.__('The kernel starts')} {elapsed}
        </>
      );
    case 'ended':
      return <>{endText(trans, model.kernel(place.kernelId))}</>;
    case 'none':
      return <>{trans.__('Choose a machine to run this notebook.')}</>;
    default: {
      const machine = model.machine(place.machine);
      const started = startedWith(trans, model.kernel(place.kernelId)?.code);
      return (
        <>
          {hardware(trans, machine?.info ?? null)}
          <span
            className="jp-cloudml-kernel"
            title={started ? trans.__('Started with the code %1', started) : undefined}
          >
            {place.kernelTitle}
          </span>
        </>
      );
    }
  }
}

/** The buttons that go with a state. */
export function actsFor(place: IPlace, props: ISectionProps): Act[] {
  const { commands, notebook, trans } = props;
  const args = place.machine === null ? {} : { name: place.machine };
  const acts: Act[] = [];
  const context = notebook.panel?.sessionContext;
  if (place.state === 'ended' && context) {
    const name = trans.__('Restart the kernel of this notebook');
    acts.push([trans.__('Restart'), name, () => void context.restartKernel()]);
  }
  if (place.state === 'reconnecting') {
    const retry = () => void commands.execute(CommandIDs.retryMachine, args);
    const check = () => void commands.execute(CommandIDs.checkMachine, args);
    acts.push([trans.__('Retry'), trans.__('Try to reach %1 now', place.machine ?? ''), retry]);
    acts.push([trans.__('Why…'), trans.__('Find out why %1 is away', place.machine ?? ''), check]);
  }
  if (place.state === 'starting' && place.durable && place.kernelId) {
    const id = place.kernelId;
    const cancel = () => void props.model.client.cancelStart(id).catch(() => props.model.refresh());
    acts.push([trans.__('Cancel'), trans.__('Cancel the start of this kernel'), cancel]);
  }
  return acts;
}
