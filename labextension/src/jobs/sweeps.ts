import { JSONObject, JSONValue } from '@lumino/coreutils';

import { parsed } from './parameters';

/** Runs of a sweep at most. */
export const MOST = 1000;

/** What was typed as a sweep: its value (undefined where nothing was typed), and how many runs that is. */
export interface ISweep {
  readonly value: JSONValue | undefined;
  readonly count: number;
}

/** A sweep as it is typed: `name = value, value` in each line, or the JSON that a definition has; null where it is none. */
export function readSweep(text: string): ISweep | null {
  const trimmed = text.trim();
  if (!trimmed) {
    return { value: undefined, count: 0 };
  }
  if (/^[[{]/.test(trimmed)) {
    try {
      return counted(JSON.parse(trimmed) as JSONValue);
    } catch {
      return null;
    }
  }
  const found: JSONObject = {};
  for (const line of trimmed.split('\n').filter(each => each.trim())) {
    const parts = /^\s*([^=\s]+)\s*=\s*(.+?)\s*$/.exec(line);
    const values = parts?.[2] ? valuesOf(parts[2]) : null;
    if (!parts?.[1] || !values || Object.keys(found).includes(parts[1])) {
      return null;
    }
    found[parts[1]] = values;
  }
  return counted(found);
}

/** The text of a sweep: lines where they are read as the same, else JSON. */
export function writeSweep(value: JSONValue | undefined): string {
  if (value === undefined || value === null) {
    return '';
  }
  const lines = Object.entries(value as JSONObject)
    .map(([name, each]) => `${name} = ${JSON.stringify(each).slice(1, -1)}`)
    .join('\n');
  const isSame = JSON.stringify(readSweep(lines)?.value) === JSON.stringify(value);
  return isSame ? lines : JSON.stringify(value, null, 1);
}

/** The values of one line, with commas between them: JSON, what Python writes, or words as they stand; null where one is empty. */
function valuesOf(text: string): JSONValue[] | null {
  const pieces = split(text).map(each => each.trim());
  if (pieces.includes('')) {
    return null;
  }
  return pieces.map(each => {
    const value = parsed(each);
    return value === undefined ? each : value;
  });
}

/** The pieces between commas that stand in no quotes and no brackets. */
function split(text: string): string[] {
  const pieces = [''];
  let depth = 0;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|./g)) {
    depth += '[{'.includes(token) ? 1 : ']}'.includes(token) ? -1 : 0;
    if (token === ',' && depth <= 0) {
      pieces.push('');
    } else {
      pieces[pieces.length - 1] += token;
    }
  }
  return pieces;
}

function counted(value: JSONValue): ISweep | null {
  if (Array.isArray(value)) {
    const isSets = value.every(each => typeof each === 'object' && each && !Array.isArray(each));
    return isSets && value.length > 0 ? { value, count: value.length } : null;
  }
  const lists = Object.values(value as JSONObject);
  if (lists.length === 0 || !lists.every(each => Array.isArray(each) && each.length > 0)) {
    return null;
  }
  return { value, count: lists.reduce<number>((n, each) => n * (each as JSONValue[]).length, 1) };
}
