import { IOutput } from '@jupyterlab/nbformat';
import { OutputAreaModel, SimplifiedOutputArea } from '@jupyterlab/outputarea';
import { IRenderMimeRegistry, MimeModel } from '@jupyterlab/rendermime';
import { Widget } from '@lumino/widgets';
import * as React from 'react';

// Widgets live in nodes of React: they have to go before the nodes do, which layout effects see to.

/** The outputs of a cell as notebooks show them, of which nothing is trusted: no script of them runs. */
export function Outputs(props: {
  readonly outputs: ReadonlyArray<IOutput>;
  readonly rendermime: IRenderMimeRegistry;
}): JSX.Element {
  const { outputs, rendermime } = props;
  const host = React.useRef<HTMLDivElement>(null);
  const shown = React.useRef<ReadonlyArray<IOutput>>([]);
  const model = React.useRef<OutputAreaModel | null>(null);
  React.useLayoutEffect(() => {
    const node = host.current;
    if (!node) {
      return;
    }
    const made = new OutputAreaModel({ trusted: false });
    const area = new SimplifiedOutputArea({ model: made, rendermime });
    Widget.attach(area, node);
    model.current = made;
    shown.current = [];
    return () => {
      model.current = null;
      area.dispose();
      made.dispose();
    };
  }, [rendermime]);
  React.useLayoutEffect(() => {
    if (model.current) {
      follow(model.current, shown.current, outputs);
      shown.current = outputs;
    }
  }, [outputs, rendermime]);
  return <div ref={host} className="jp-cloudml-outputs" />;
}

/** Show other outputs, and leave alone what has not changed: a picture does not flicker because text follows it. */
function follow(
  model: OutputAreaModel,
  before: ReadonlyArray<IOutput>,
  after: ReadonlyArray<IOutput>
): void {
  if (after.length < before.length || model.length !== before.length) {
    model.fromJSON([...after]);
    return;
  }
  after.forEach((output, index) => {
    if (index >= before.length) {
      model.add(output);
    } else if (output !== before[index]) {
      model.set(index, output);
    }
  });
}

/** A text cell, rendered as untrusted Markdown. */
export function Text(props: {
  readonly source: string;
  readonly rendermime: IRenderMimeRegistry;
}): JSX.Element {
  const { source, rendermime } = props;
  const host = React.useRef<HTMLDivElement>(null);
  React.useLayoutEffect(() => {
    const node = host.current;
    if (!node) {
      return;
    }
    const mimeType = 'text/markdown';
    const renderer = rendermime.createRenderer(mimeType);
    Widget.attach(renderer, node);
    void renderer.renderModel(new MimeModel({ trusted: false, data: { [mimeType]: source } }));
    return () => renderer.dispose();
  }, [rendermime, source]);
  return <div ref={host} className="jp-cloudml-text" />;
}
