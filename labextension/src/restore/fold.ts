import * as nbformat from '@jupyterlab/nbformat';
import { OutputAreaModel } from '@jupyterlab/outputarea';
import { JSONExt, JSONObject, PartialJSONObject } from '@lumino/coreutils';

import { IExecution } from './types';

/** The outputs that an execution makes, just as an output area makes them. */
export function fold({ messages, payload, status }: IExecution): nbformat.IOutput[] {
  const model = new OutputAreaModel({ trusted: true });
  const displays = new Map<string, number[]>();
  let clearing = false; // at the next output
  for (const { type, content } of messages) {
    const id = displayId(content);
    if (type === 'clear_output') {
      clearing = content['wait'] === true;
      model.clear(clearing);
      if (!clearing) {
        displays.clear();
      }
    } else if (type === 'update_display_data') {
      for (const index of (id && displays.get(id)) || []) {
        model.set(index, { ...content, output_type: 'display_data' });
      }
    } else {
      if (clearing) {
        displays.clear();
        clearing = false;
      }
      model.add({ ...content, output_type: type });
      if (id && type === 'display_data') {
        displays.set(id, [...(displays.get(id) ?? []), model.length - 1]);
      }
    }
  }
  const page = status === 'ok' ? payload?.find(({ source }) => source === 'page') : undefined;
  if (page) {
    model.add({ output_type: 'display_data', data: page['data'] ?? {}, metadata: {} });
  }
  const outputs = model.toJSON();
  model.dispose();
  return outputs;
}

/** Whether the outputs of a document are those that an execution makes. */
export function sameOutputs(
  outputs: ReadonlyArray<nbformat.IOutput>,
  execution: IExecution
): boolean {
  const expected = fold(execution);
  return (
    outputs.length === expected.length && JSONExt.deepEqual(outputs.map(saved), expected.map(saved))
  );
}

/** An output as a file has it. */
function saved(output: nbformat.IOutput): JSONObject {
  const copy = JSONExt.deepCopy(output) as JSONObject;
  delete copy['transient'];
  return copy;
}

/** The id of the display that a message makes or updates, if it has one. */
export function displayId(content: PartialJSONObject): string | null {
  const transient = content['transient'] as PartialJSONObject | undefined;
  const id = transient?.['display_id'];
  return typeof id === 'string' ? id : null;
}
