import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { IGauges } from '../gauges';
import { size, usedOf } from '../text';
import { IGpuGauge, IMachineGauges } from '../types';

const WIDTH = 48;
const HEIGHT = 8;

/** One gauge: a bar, and the same in words. `percent` is 0 to 100. */
export function Bar(props: {
  readonly label: string;
  readonly percent: number;
  readonly text: string;
}): JSX.Element {
  const percent = Math.min(100, Math.max(0, props.percent));
  return (
    <div
      className="jp-cloudml-gauge"
      role="meter"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(percent)}
      aria-valuetext={props.text}
    >
      <span className="jp-cloudml-gauge-label">{props.label}</span>
      <svg
        className="jp-cloudml-gauge-bar"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        data-high={percent >= 90}
        aria-hidden="true"
      >
        <rect className="jp-cloudml-gauge-track" width={WIDTH} height={HEIGHT} rx="2" />
        <rect
          className="jp-cloudml-gauge-fill"
          width={(WIDTH * percent) / 100}
          height={HEIGHT}
          rx="2"
        />
      </svg>
      <span className="jp-cloudml-gauge-text">{props.text}</span>
    </div>
  );
}

function gpuBar(trans: TranslationBundle, gpu: IGpuGauge, label: string): JSX.Element {
  const { memory_used: used, memory_total: total, percent } = gpu;
  const memory = used !== null && total ? usedOf(trans, used, total) : '';
  const share = percent ?? (used !== null && total ? (100 * used) / total : 0);
  const texts = [percent === null ? '' : trans.__('%1%', Math.round(percent)), memory];
  const text = texts.filter(Boolean).join(' · ');
  return <Bar key={label} label={label} percent={share} text={text} />;
}

function machineBars(trans: TranslationBundle, machine: IMachineGauges): JSX.Element[] {
  const { cpu_percent: cpu, memory_used: used, memory_total: total, gpus } = machine;
  const bars = gpus.map((gpu, i) =>
    gpuBar(trans, gpu, gpus.length > 1 ? trans.__('GPU %1', i) : trans.__('GPU'))
  );
  if (cpu !== null) {
    const text = trans.__('%1%', Math.round(cpu));
    bars.push(<Bar key="cpu" label={trans.__('CPU')} percent={cpu} text={text} />);
  }
  if (used !== null && total) {
    const text = usedOf(trans, used, total);
    const percent = (100 * used) / total;
    bars.push(<Bar key="memory" label={trans.__('Memory')} percent={percent} text={text} />);
  }
  return bars;
}

/** What one process has, in words. */
function ownText(trans: TranslationBundle, { own }: IGauges): string {
  const parts: string[] = [];
  if (own?.cpu_percent != null) {
    parts.push(trans.__('CPU %1%', Math.round(own.cpu_percent)));
  }
  if (own?.memory_used != null) {
    parts.push(size(trans, own.memory_used));
  }
  if (own?.gpu_memory_used) {
    parts.push(trans.__('GPU %1', size(trans, own.gpu_memory_used)));
  }
  return parts.join(' · ');
}

/** The gauges of a machine and of one process there; `says` names that process. */
export function Gauges(props: {
  readonly gauges: IGauges;
  readonly says: (own: string) => string;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { gauges, says, trans } = props;
  const own = ownText(trans, gauges);
  return (
    <div className="jp-cloudml-gauges">
      {machineBars(trans, gauges.machine)}
      {own && <div className="jp-cloudml-detail">{says(own)}</div>}
    </div>
  );
}
