import { TranslationBundle } from '@jupyterlab/translation';
import { JSONObject, JSONValue } from '@lumino/coreutils';
import * as React from 'react';

import { IParameter } from './types';

/** How a value is typed: text as it is, the rest as JSON. */
export function asText(parameter: IParameter, value: JSONValue): string {
  return parameter.kind === 'str' && typeof value === 'string' ? value : JSON.stringify(value);
}

/** The value that somebody typed; undefined where it is none of the parameter's kind. */
export function valueOf(parameter: IParameter, text: string): JSONValue | undefined {
  const { kind, optional } = parameter;
  const trimmed = text.trim();
  if (optional && ['', 'null', 'None'].includes(trimmed)) {
    return null;
  }
  if (kind === 'str') {
    return text;
  }
  const value = parsed(trimmed);
  switch (kind) {
    case 'int':
      return Number.isInteger(value) ? value : undefined;
    case 'float':
      return typeof value === 'number' ? value : undefined;
    case 'bool':
      return typeof value === 'boolean' ? value : undefined;
    case 'list':
      return Array.isArray(value) ? value : undefined;
    case 'dict':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? value
        : undefined;
    default:
      return value === undefined ? text : value;
  }
}

/** JSON, or what Python writes for true, false and nothing. */
export function parsed(text: string): JSONValue | undefined {
  const python = new Map<string, JSONValue>([
    ['True', true],
    ['False', false],
    ['None', null]
  ]);
  if (python.has(text)) {
    return python.get(text);
  }
  try {
    return JSON.parse(text) as JSONValue;
  } catch {
    return undefined;
  }
}

/** What a kind is, for whoever types one. */
export function kindText(trans: TranslationBundle, kind: string): string {
  const texts: Record<string, string> = {
    int: trans.__('a whole number'),
    float: trans.__('a number'),
    bool: trans.__('true or false'),
    str: trans.__('text'),
    list: trans.__('a list, as [1, 2]'),
    dict: trans.__('an object, as {"a": 1}')
  };
  return texts[kind] ?? trans.__('any value');
}

/** The values of a form that differ from what the notebook has, and the first parameter whose text is no value. */
export function collect(
  parameters: ReadonlyArray<IParameter>,
  texts: Readonly<Record<string, string>>
): { readonly values: JSONObject; readonly wrong: IParameter | null } {
  const values: JSONObject = {};
  let wrong: IParameter | null = null;
  for (const parameter of parameters) {
    const text = texts[parameter.name];
    if (text === undefined || text === asText(parameter, parameter.default)) {
      continue;
    }
    const value = valueOf(parameter, text);
    if (value === undefined) {
      wrong ??= parameter;
    } else {
      values[parameter.name] = value;
    }
  }
  return { values, wrong };
}

/** The id of the field of a parameter. */
export function parameterId(name: string): string {
  return `jp-cloudml-parameter-${name}`;
}

/** A field for each parameter of a notebook. */
export function ParameterFields(props: {
  readonly parameters: ReadonlyArray<IParameter>;
  readonly texts: Readonly<Record<string, string>>;
  readonly onChange: (name: string, text: string) => void;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { parameters, texts, onChange, trans } = props;
  return (
    <>
      {parameters.map(parameter => {
        const { name, kind, help } = parameter;
        const id = parameterId(name);
        const text = texts[name] ?? asText(parameter, parameter.default);
        const wrong = valueOf(parameter, text) === undefined;
        const hint = [help, kindText(trans, kind)].filter(Boolean).join(' · ');
        return (
          <React.Fragment key={name}>
            <label htmlFor={id}>{name}</label>
            {kind === 'bool' ? (
              <select
                id={id}
                className="jp-mod-styled"
                value={text}
                onChange={event => onChange(name, event.target.value)}
              >
                <option value="true">{trans.__('true')}</option>
                <option value="false">{trans.__('false')}</option>
              </select>
            ) : (
              <input
                id={id}
                className="jp-mod-styled"
                type="text"
                spellCheck={false}
                aria-invalid={wrong}
                aria-describedby={`${id}-hint`}
                value={text}
                onChange={event => onChange(name, event.target.value)}
              />
            )}
            <p
              id={`${id}-hint`}
              className={wrong ? 'jp-cloudml-invalid' : 'jp-cloudml-hint'}
              role={wrong ? 'alert' : undefined}
            >
              {wrong ? trans.__('Give %1.', kindText(trans, kind)) : hint}
            </p>
          </React.Fragment>
        );
      })}
    </>
  );
}
