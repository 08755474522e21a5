import { TranslationBundle } from '@jupyterlab/translation';
import { UseSignal } from '@jupyterlab/ui-components';
import { JSONObject, JSONValue } from '@lumino/coreutils';
import { ErrorSchema, FieldProps } from '@rjsf/utils';
import * as React from 'react';

import { EditModel } from './edit_model';
import { FieldKind, isObject } from './form_schema';
import { ParameterFields, asText, parameterId, valueOf } from './parameters';
import { sweepHelp } from './sweep_field';
import { readSweep, writeSweep } from './sweeps';
import { TriggersField } from './trigger_fields';

/** What the fields of ours know besides what the form's library tells them. */
export interface IFieldContext {
  readonly edit: EditModel;
  readonly trans: TranslationBundle;
}

export type Field = FieldProps<JSONValue>;

/** What is wrong with a field, beside it. */
export function Errors({
  errors
}: {
  readonly errors: ErrorSchema<unknown> | undefined;
}): JSX.Element {
  const found = (errors as { __errors?: string[] } | undefined)?.__errors ?? [];
  return (
    <>
      {found.map(error => (
        <div key={error} className="jp-cloudml-invalid" role="alert">
          {error}
        </div>
      ))}
    </>
  );
}

/** Tell the form of fields whose text is no value, for as long as it is none. */
function useMarks(edit: EditModel, wrong: ReadonlyArray<string>): void {
  React.useEffect(() => {
    wrong.forEach(id => edit.mark(id, true));
    return () => wrong.forEach(id => edit.mark(id, false));
  }, [edit, wrong.join(' ')]);
}

/** A text that stands for a value, for as long as it does. */
function TextValue(props: {
  readonly field: Field;
  readonly edit: EditModel;
  readonly write: (value: JSONValue | undefined) => string;
  /** The value; null where the text is none, undefined where it is left out. */
  readonly read: (text: string) => { value: JSONValue | undefined } | null;
  readonly wrong: string;
  readonly placeholder: string;
}): JSX.Element {
  const { edit, field, write, read, wrong, placeholder } = props;
  const { formData, idSchema } = field;
  const [text, setText] = React.useState(() => write(formData));
  const isWrong = read(text) === null;
  useMarks(edit, isWrong ? [idSchema.$id] : []);
  React.useEffect(() => {
    const now = read(text);
    // What somebody else has changed is shown; what is typed stays as it is typed.
    if (now && JSON.stringify(now.value) !== JSON.stringify(formData)) {
      setText(write(formData));
    }
  }, [formData]);
  return (
    <>
      <textarea
        id={idSchema.$id}
        className="jp-mod-styled jp-cloudml-area"
        rows={Math.min(8, Math.max(2, text.split('\n').length))}
        spellCheck={false}
        placeholder={placeholder}
        aria-invalid={isWrong}
        value={text}
        onChange={event => {
          setText(event.target.value);
          const found = read(event.target.value);
          if (found) {
            field.onChange(found.value);
          }
        }}
      />
      {isWrong && (
        <div className="jp-cloudml-invalid" role="alert">
          {wrong}
        </div>
      )}
    </>
  );
}

function readJSON(text: string): { value: JSONValue | undefined } | null {
  if (!text.trim()) {
    return { value: undefined };
  }
  try {
    return { value: JSON.parse(text) as JSONValue };
  } catch {
    return null;
  }
}

function writeJSON(value: JSONValue | undefined): string {
  return value === undefined || value === null ? '' : JSON.stringify(value, null, 1);
}

function readPairs(text: string): { value: JSONValue | undefined } | null {
  const lines = text.split('\n').filter(line => line.trim());
  const pairs = lines.map(line => /^\s*([^=\s]+)\s*=\s*(.+?)\s*$/.exec(line));
  if (pairs.some(pair => pair === null)) {
    return null;
  }
  const found = pairs.flatMap(pair => (pair?.[1] && pair[2] ? [[pair[1], pair[2]]] : []));
  return { value: found.length ? (Object.fromEntries(found) as JSONObject) : undefined };
}

function writePairs(value: JSONValue | undefined): string {
  return isObject(value)
    ? Object.entries(value)
        .map(([name, each]) => `${name}=${String(each)}`)
        .join('\n')
    : '';
}

function JSONField({ field, edit, trans }: { field: Field } & IFieldContext): JSX.Element {
  return (
    <TextValue
      field={field}
      edit={edit}
      write={writeJSON}
      read={readJSON}
      wrong={trans.__('This is no JSON.')}
      placeholder="{}"
    />
  );
}

/** The values of the notebook's parameters: a field for each where they are known, else JSON. */
function Parameters({ field, edit, trans }: { field: Field } & IFieldContext): JSX.Element {
  const { formData, onChange } = field;
  const [texts, setTexts] = React.useState<Record<string, string>>({});
  const parameters = edit.parameters ?? [];
  const given = isObject(formData) ? formData : {};
  const known = parameters.map(({ name }) => name);
  const isKnown = parameters.length > 0 && Object.keys(given).every(name => known.includes(name));
  const wrong = (isKnown ? parameters : []).filter(parameter => {
    const text = texts[parameter.name];
    return text !== undefined && valueOf(parameter, text) === undefined;
  });
  useMarks(
    edit,
    wrong.map(({ name }) => parameterId(name))
  );
  if (!isKnown) {
    return <JSONField field={field} edit={edit} trans={trans} />;
  }
  const shown = Object.fromEntries(
    parameters.flatMap(parameter => {
      const value = given[parameter.name];
      return value === undefined ? [] : [[parameter.name, asText(parameter, value)]];
    })
  );
  const change = (name: string, text: string) => {
    const parameter = parameters.find(each => each.name === name);
    const value = parameter && valueOf(parameter, text);
    setTexts({ ...texts, [name]: text });
    if (parameter && value !== undefined) {
      const { [name]: _, ...rest } = given;
      const isDefault = JSON.stringify(value) === JSON.stringify(parameter.default);
      onChange(isDefault ? rest : { ...rest, [name]: value });
    }
  };
  return (
    <div className="jp-cloudml-policies">
      <ParameterFields
        parameters={parameters}
        texts={{ ...shown, ...texts }}
        onChange={change}
        trans={trans}
      />
    </div>
  );
}

/** The fields of ours, for the form's library. */
export function fieldsOf({
  edit,
  trans
}: IFieldContext): Record<FieldKind, (field: Field) => JSX.Element> {
  return {
    triggers: field => <TriggersField field={field} edit={edit} trans={trans} />,
    parameters: field => (
      // The form's library draws a field anew when its value changes: here the notebook may have, too.
      <UseSignal signal={edit.changed}>
        {() => <Parameters field={field} edit={edit} trans={trans} />}
      </UseSignal>
    ),
    sweep: field => (
      <TextValue
        field={field}
        edit={edit}
        write={writeSweep}
        read={readSweep}
        wrong={sweepHelp(trans)}
        placeholder="alpha = 1, 2, 3"
      />
    ),
    pairs: field => (
      <TextValue
        field={field}
        edit={edit}
        write={writePairs}
        read={readPairs}
        wrong={trans.__('Write one NAME=VALUE in each line.')}
        placeholder="NAME=VALUE"
      />
    ),
    words: field => (
      <TextValue
        field={field}
        edit={edit}
        write={value => (Array.isArray(value) ? value.join(', ') : '')}
        read={text => {
          const words = text.split(/[\s,]+/).filter(Boolean);
          return { value: words.length ? words : undefined };
        }}
        wrong=""
        placeholder=""
      />
    ),
    json: field => <JSONField field={field} edit={edit} trans={trans} />
  };
}
