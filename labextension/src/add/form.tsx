import { FormComponent } from '@jupyterlab/ui-components';
import { TranslationBundle } from '@jupyterlab/translation';
import {
  FieldTemplateProps,
  ObjectFieldTemplateProps,
  RJSFValidationError,
  TemplatesType
} from '@rjsf/utils';
import { customizeValidator } from '@rjsf/validator-ajv8';
import { ReadonlyJSONObject } from '@lumino/coreutils';
import * as React from 'react';

import { Refusal } from './parts';
import { AddMachineModel, FormData } from './model';

const validator = customizeValidator<ReadonlyJSONObject>();

/** A field with a real label, its explanation and what is wrong with it. */
function Field(props: FieldTemplateProps<ReadonlyJSONObject>): JSX.Element {
  const { id, schema, label, required, children, rawErrors, rawDescription } = props;
  if (schema.type === 'object') {
    return children;
  }
  return (
    <div className="jp-cloudml-field" data-invalid={Boolean(rawErrors?.length)}>
      <label htmlFor={id}>
        {label}
        {required && <span aria-hidden="true"> *</span>}
      </label>
      {children}
      <div id={`${id}__description`} className="jp-cloudml-hint">
        {rawDescription}
      </div>
      {rawErrors?.map(error => (
        <div key={error} id={`${id}__error`} className="jp-cloudml-invalid" role="alert">
          {error}
        </div>
      ))}
    </div>
  );
}

type FieldsProps = ObjectFieldTemplateProps<ReadonlyJSONObject>;

/** Whether the server marked a field as one that few people need. */
function isAdvanced(property: FieldsProps['properties'][number]): boolean {
  const uiSchema = property.content.props.uiSchema as FieldsProps['uiSchema'];
  return Boolean(uiSchema?.['ui:options']?.['advanced']);
}

/** The fields of an object; those that few people need are folded. */
export function fieldsTemplate(trans: TranslationBundle) {
  return function Fields({ properties }: FieldsProps): JSX.Element {
    const advanced = properties.filter(isAdvanced);
    return (
      <>
        {properties.filter(each => !isAdvanced(each)).map(each => each.content)}
        {advanced.length > 0 && (
          <details className="jp-cloudml-advanced">
            <summary>{trans.__('More')}</summary>
            {advanced.map(each => each.content)}
          </details>
        )}
      </>
    );
  };
}

/** What is wrong, in the user's language and in the order of the fields: the first gets the focus. */
export function explain(trans: TranslationBundle, order: ReadonlyArray<unknown>) {
  const messages: Record<string, string> = {
    required: trans.__('Fill in this field.'),
    pattern: trans.__('This has characters that are not allowed here.'),
    minimum: trans.__('This number is too small.'),
    maximum: trans.__('This number is too large.')
  };
  const place = (error: RJSFValidationError) => order.indexOf(error.property?.replace(/^\./, ''));
  return (errors: RJSFValidationError[]): RJSFValidationError[] =>
    errors
      .map(error => ({ ...error, message: messages[error.name ?? ''] ?? error.message }))
      .sort((a, b) => place(a) - place(b));
}

/** Hosts of the SSH configuration, each a click away from being in the form. */
function Suggestions(props: {
  readonly add: AddMachineModel;
  readonly trans: TranslationBundle;
}): JSX.Element | null {
  const { add, trans } = props;
  if (add.suggestions.length === 0) {
    return null;
  }
  return (
    <section className="jp-cloudml-suggestions" aria-labelledby="jp-cloudml-suggestions">
      <h2 id="jp-cloudml-suggestions">{trans.__('From your SSH configuration')}</h2>
      <ul>
        {add.suggestions.map(each => (
          <li key={each.name}>
            <button
              type="button"
              className="jp-cloudml-button"
              aria-pressed={add.data.host === each.name}
              title={[each.user, each.host].filter(Boolean).join('@')}
              onClick={() => add.suggest(each)}
            >
              {each.name}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** The form for the machine's address, made from the server's schema. */
export function AddressForm(props: {
  readonly add: AddMachineModel;
  readonly trans: TranslationBundle;
}): JSX.Element {
  const { add, trans } = props;
  const { form, phase } = add;
  const templates = React.useMemo<Partial<TemplatesType<ReadonlyJSONObject>>>(
    () => ({ FieldTemplate: Field, ObjectFieldTemplate: fieldsTemplate(trans) }),
    [trans]
  );
  const error = phase.kind === 'form' ? phase.error : null;
  if (!form) {
    return error ? (
      <Refusal error={error}>
        <button type="button" className="jp-mod-styled" onClick={() => void add.load()}>
          {trans.__('Retry')}
        </button>
      </Refusal>
    ) : (
      <p role="status">{trans.__('Loading the form…')}</p>
    );
  }
  const wanted = form.uiSchema['ui:order'];
  const order = Array.isArray(wanted) ? wanted : [];
  return (
    <>
      <Suggestions add={add} trans={trans} />
      {error && <Refusal error={error} />}
      <FormComponent
        className="jp-cloudml-form"
        schema={form.schema}
        uiSchema={form.uiSchema}
        formData={add.data}
        validator={validator}
        templates={templates}
        transformErrors={explain(trans, order)}
        showErrorList={false}
        focusOnFirstError
        noHtml5Validate
        onChange={event => add.edit((event.formData ?? {}) as FormData)}
        onSubmit={() => void add.submit()}
        onError={() => undefined /* the fields say it; the default writes to the console */}
      >
        <div className="jp-cloudml-buttons">
          <button type="submit" className="jp-mod-styled jp-mod-accept">
            {trans.__('Continue')}
          </button>
        </div>
      </FormComponent>
    </>
  );
}
