import { FormComponent, ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { TranslationBundle } from '@jupyterlab/translation';
import { JSONObject, ReadonlyJSONObject } from '@lumino/coreutils';
import { CommandRegistry } from '@lumino/commands';
import { ErrorSchema, FieldTemplateProps, RegistryFieldsType, TemplatesType } from '@rjsf/utils';
import { customizeValidator } from '@rjsf/validator-ajv8';
import * as React from 'react';

import { explain, fieldsTemplate } from '../add/form';
import { Refusal } from '../add/parts';
import { CloudMLError } from '../api';
import { CommandIDs, ICloudML } from '../tokens';
import { fieldsOf } from './edit_fields';
import { EditModel } from './edit_model';
import { formOf } from './form_schema';
import { JobsModel } from './model';
import { IProblem } from './types';

const validator = customizeValidator<ReadonlyJSONObject>();

export interface IEditProps {
  /** The job that is changed; null for a new one. */
  readonly name: string | null;
  readonly definition: JSONObject;
  readonly jobs: JobsModel;
  readonly model: ICloudML;
  readonly commands: CommandRegistry;
  readonly trans: TranslationBundle;
}

/** A field with its label, its explanation and what is wrong with it; also where it is a list or a map. */
function Field(props: FieldTemplateProps<ReadonlyJSONObject>): JSX.Element {
  const { id, schema, label, required, children, rawErrors, rawDescription } = props;
  if (id === 'root') {
    return children;
  }
  if (schema.type === 'object') {
    return (
      <fieldset className="jp-cloudml-fields">
        <legend>{label}</legend>
        {children}
      </fieldset>
    );
  }
  // What is wrong with one of several triggers is said beside it.
  const errors = props.uiSchema?.['ui:field'] === 'triggers' ? [] : (rawErrors ?? []);
  const isGroup = props.uiSchema?.['ui:field'] === 'triggers';
  const isCheck = schema.type === 'boolean';
  return (
    <div className="jp-cloudml-field" data-invalid={errors.length > 0} data-check={isCheck}>
      {!isCheck &&
        (isGroup ? (
          <h2>{label}</h2>
        ) : (
          <label htmlFor={id}>
            {label}
            {required && <span aria-hidden="true"> *</span>}
          </label>
        ))}
      {children}
      {rawDescription && !isCheck && (
        <div id={`${id}__description`} className="jp-cloudml-hint">
          {rawDescription}
        </div>
      )}
      {errors.map(error => (
        <div key={error} id={`${id}__error`} className="jp-cloudml-invalid" role="alert">
          {error}
        </div>
      ))}
    </div>
  );
}

/** What the server said is wrong, as the form's library puts it beside the fields. */
export function errorsOf(problems: ReadonlyArray<IProblem>): ErrorSchema<ReadonlyJSONObject> {
  const root: Record<string, unknown> = {};
  for (const { field, cause, remedy } of problems) {
    let at = root;
    for (const part of field.split(/[.[\]]+/).filter(Boolean)) {
      at = (at[part] ??= {}) as Record<string, unknown>;
    }
    const text = [`${cause}.`, remedy].filter(Boolean).join(' ');
    at['__errors'] = [...((at['__errors'] as string[] | undefined) ?? []), text];
  }
  return root as ErrorSchema<ReadonlyJSONObject>;
}

/** The form of a new job, or of one that is changed, made from the server's schema. */
export class EditPage extends ReactWidget {
  constructor(private readonly _props: IEditProps) {
    super();
    this.addClass('jp-cloudml-page');
    const { definition, jobs, name } = _props;
    this._edit = new EditModel(name, jobs, definition);
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._edit.dispose();
    }
    super.dispose();
  }

  protected override render(): JSX.Element {
    const { name, trans } = this._props;
    return (
      <UseSignal signal={this._edit.changed}>
        {() => (
          <div className="jp-cloudml-page-content">
            <h1>{name === null ? trans.__('New job') : trans.__('Change %1', name)}</h1>
            <Form
              key={this._edit.rev}
              page={this._props}
              edit={this._edit}
              node={this.node}
              onDone={() => this._close()}
            />
          </div>
        )}
      </UseSignal>
    );
  }

  /** Close the tab that holds this widget. */
  private _close(): void {
    (this.parent ?? this).close();
  }

  private readonly _edit: EditModel;
}

/** Lead to the first field whose text is no value: what is wrong with it is said beside it. */
function showWrong(ids: ReadonlySet<string>, node: HTMLElement): void {
  const [field] = [...ids].flatMap(
    id => node.querySelector<HTMLElement>(`#${CSS.escape(id)}`) ?? []
  );
  const folded = field?.closest('details');
  if (folded) {
    folded.open = true;
  }
  field?.focus();
}

/** Why a definition was refused; where it would have replaced another one, what to do. */
function Refused(props: {
  readonly error: CloudMLError;
  readonly edit: EditModel;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { error, edit, trans } = props;
  if (error.code !== 'changed') {
    return <Refusal error={error} />;
  }
  return (
    <Refusal error={error}>
      {edit.name !== null && (
        <button type="button" className="jp-mod-styled" onClick={() => void edit.load()}>
          {trans.__('Load it anew')}
        </button>
      )}
    </Refusal>
  );
}

function Form(props: {
  readonly page: IEditProps;
  readonly edit: EditModel;
  /** Where the form is shown. */
  readonly node: HTMLElement;
  readonly onDone: () => void;
}): JSX.Element {
  const { page, edit, onDone } = props;
  const { commands, model, name, trans } = page;
  const { data, error, problems, schema } = edit;
  const machines = (model.machines ?? []).map(each => each.name);
  const wanted = data['machine'];
  const known =
    typeof wanted === 'string' && !machines.includes(wanted) ? [...machines, wanted] : machines;
  const form = React.useMemo(
    () => schema && formOf(schema, known, trans),
    [schema, known.join(' '), trans]
  );
  const templates = React.useMemo<Partial<TemplatesType<ReadonlyJSONObject>>>(
    () => ({ FieldTemplate: Field, ObjectFieldTemplate: fieldsTemplate(trans) }),
    [trans]
  );
  const fields = React.useMemo(
    () => fieldsOf({ edit, trans }) as unknown as RegistryFieldsType<ReadonlyJSONObject>,
    [edit, trans]
  );
  const extraErrors = React.useMemo(() => errorsOf(problems), [error]);
  if (!form) {
    return error ? (
      <Refusal error={error}>
        <button type="button" className="jp-mod-styled" onClick={() => void edit.load()}>
          {trans.__('Try again')}
        </button>
      </Refusal>
    ) : (
      <p role="status">{trans.__('Loading the form…')}</p>
    );
  }
  const submit = async () => {
    if (edit.wrong.size > 0) {
      showWrong(edit.wrong, props.node);
      return;
    }
    const job = await edit.submit();
    if (job) {
      onDone();
      await commands.execute(CommandIDs.showJob, { name: job.name });
    }
  };
  const order = form.uiSchema['ui:order'];
  return (
    <>
      {error && <Refused error={error} edit={edit} trans={trans} />}
      <FormComponent
        className="jp-cloudml-form"
        schema={form.schema}
        uiSchema={
          name === null ? form.uiSchema : { ...form.uiSchema, name: { 'ui:readonly': true } }
        }
        formData={data}
        validator={validator}
        templates={templates}
        fields={fields}
        extraErrors={extraErrors}
        transformErrors={explain(trans, Array.isArray(order) ? order : [])}
        showErrorList={false}
        focusOnFirstError
        noHtml5Validate
        onChange={event => edit.edit((event.formData ?? {}) as JSONObject)}
        onSubmit={() => void submit()}
        onError={() => undefined /* the fields say it; the default writes to the console */}
      >
        <div className="jp-cloudml-buttons">
          <button type="submit" className="jp-mod-styled jp-mod-accept" disabled={edit.busy}>
            {name === null ? trans.__('Make the job') : trans.__('Save')}
          </button>
          <button type="button" className="jp-mod-styled" onClick={onDone}>
            {trans.__('Give up')}
          </button>
        </div>
      </FormComponent>
    </>
  );
}
