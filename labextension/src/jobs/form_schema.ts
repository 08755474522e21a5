import { TranslationBundle } from '@jupyterlab/translation';
import { JSONObject, JSONValue } from '@lumino/coreutils';

/** How a member of a definition is typed: as the form's library does it, or by a field of ours. */
export type FieldKind = 'triggers' | 'parameters' | 'sweep' | 'pairs' | 'words' | 'json';

/** Members that everybody looks at; the rest is folded. */
const FIRST = ['name', 'notebook', 'machine', 'environment', 'parameters', 'triggers'];

/** The server's schema as the form's library shows it, and hints for that. */
export interface IFormSchema {
  readonly schema: JSONObject;
  readonly uiSchema: JSONObject;
}

/** Make a form of the schema of a definition; members that this page has never heard of are in it, too. */
export function formOf(
  schema: JSONObject,
  machines: ReadonlyArray<string>,
  trans: TranslationBundle
): IFormSchema {
  const uiSchema: JSONObject = {};
  const made = objectForm(schema, uiSchema, trans);
  const properties = made['properties'] as JSONObject;
  const machine = properties['machine'];
  if (isObject(machine) && machines.length > 0) {
    properties['machine'] = { ...machine, enum: [...machines] };
  }
  const names = Object.keys(properties);
  uiSchema['ui:order'] = [
    ...FIRST.filter(name => names.includes(name)),
    ...names.filter(name => !FIRST.includes(name))
  ];
  for (const name of names.filter(each => !FIRST.includes(each))) {
    const hint = uiSchema[name];
    uiSchema[name] = { ...(isObject(hint) ? hint : {}), 'ui:options': { advanced: true } };
  }
  return { schema: made, uiSchema };
}

function objectForm(schema: JSONObject, ui: JSONObject, trans: TranslationBundle): JSONObject {
  const properties: JSONObject = {};
  for (const [name, given] of Object.entries(schema['properties'] as JSONObject)) {
    if (!isObject(given)) {
      continue;
    }
    const member = withoutNull(given);
    const title = titleOf(name, trans);
    const kind = kindOf(name, member);
    const { description } = given;
    if (kind) {
      // The server says what is wrong with it: the form's library knows only what it shows itself.
      properties[name] = { title, ...(description ? { description } : {}) };
      ui[name] = { 'ui:field': kind };
    } else if (isObject(member['properties'])) {
      const inner: JSONObject = {};
      properties[name] = { ...objectForm(member, inner, trans), title };
      ui[name] = inner;
    } else {
      const { examples, ...rest } = member;
      const example = Array.isArray(examples) ? examples[0] : undefined;
      properties[name] = { ...rest, title, ...(description ? { description } : {}) };
      ui[name] = example === undefined ? {} : { 'ui:placeholder': String(example) };
    }
  }
  return {
    type: 'object',
    properties,
    ...(schema['required'] ? { required: schema['required'] } : {})
  };
}

/** The schema of what may be left out: a form leaves it out by being empty. */
function withoutNull(schema: JSONObject): JSONObject {
  const { anyOf, ...rest } = schema;
  if (!Array.isArray(anyOf)) {
    return schema;
  }
  const [only, ...others] = anyOf.filter(each => isObject(each) && each['type'] !== 'null');
  return isObject(only) && others.length === 0 ? { ...only, ...rest } : schema;
}

function kindOf(name: string, schema: JSONObject): FieldKind | null {
  if (name === 'triggers' || name === 'parameters' || name === 'sweep') {
    return name;
  }
  const { type, items, properties, additionalProperties } = schema;
  if (isObject(properties)) {
    return null;
  }
  if (type === 'object') {
    return isObject(additionalProperties) && additionalProperties['type'] === 'string'
      ? 'pairs'
      : 'json';
  }
  if (type === 'array') {
    return isObject(items) && items['type'] === 'string' ? 'words' : 'json';
  }
  const isPlain =
    Array.isArray(schema['enum']) ||
    (typeof type === 'string' && ['string', 'integer', 'number', 'boolean'].includes(type));
  return isPlain ? null : 'json';
}

function titleOf(name: string, trans: TranslationBundle): string {
  const titles: Record<string, string> = {
    name: trans.__('Name'),
    notebook: trans.__('Notebook'),
    machine: trans.__('Machine'),
    environment: trans.__('Environment'),
    kernel: trans.__('Kernel'),
    parameters: trans.__('Parameters'),
    triggers: trans.__('When it runs'),
    sweep: trans.__('Run it with each of'),
    project: trans.__('Project'),
    overlap: trans.__('While another run goes on'),
    max_running: trans.__('Runs at once'),
    code: trans.__('Code'),
    missed: trans.__('Missed times'),
    catchup_cap: trans.__('Missed times at most'),
    timeout_s: trans.__('Time for a run (s)'),
    cell_timeout_s: trans.__('Time for a cell (s)'),
    retry: trans.__('Attempts after a failure'),
    count: trans.__('More attempts'),
    delay_s: trans.__('Delay (s)'),
    factor: trans.__('Growth of the delay'),
    max_delay_s: trans.__('Longest delay (s)'),
    on: trans.__('After which failures'),
    pool: trans.__('Pool'),
    priority: trans.__('Priority'),
    secrets: trans.__('Secrets'),
    keep_on_failure: trans.__('Keep the kernel of a failed run')
  };
  const plain = name.replace(/_/g, ' ');
  return titles[name] ?? plain.charAt(0).toUpperCase() + plain.slice(1);
}

/** A definition without what was left empty. */
export function cleaned(value: JSONObject): JSONObject {
  const found: JSONObject = {};
  for (const [name, member] of Object.entries(value)) {
    if (member === undefined || member === null || member === '') {
      continue;
    }
    const made =
      isObject(member) && name !== 'parameters' && name !== 'sweep' ? cleaned(member) : member;
    found[name] = made;
  }
  return found;
}

export function isObject(value: JSONValue | undefined): value is JSONObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
