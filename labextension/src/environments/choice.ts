import { PathExt } from '@jupyterlab/coreutils';
import { TranslationBundle } from '@jupyterlab/translation';

import { IMachineSpec } from '../specs';
import { IBuild, IFoundSource, IImage } from '../types';

/** What a notebook is to run in: a kernelspec of the machine, or what is to be built first. */
export type EnvironmentChoice = { readonly spec: string } | { readonly build: IBuild };

/** One line of the list, under its group. */
export interface IChoiceLine {
  readonly key: string;
  readonly text: string;
  readonly choice: EnvironmentChoice;
}

export interface IChoiceGroup {
  readonly title: string;
  readonly lines: ReadonlyArray<IChoiceLine>;
}

/** The kernels that are there, then what can be built: files beside the notebook, the packages here, the images. */
export function choices(
  specs: ReadonlyArray<IMachineSpec>,
  sources: ReadonlyArray<IFoundSource>,
  images: ReadonlyArray<IImage>,
  before: string | null,
  trans: TranslationBundle
): ReadonlyArray<IChoiceGroup> {
  const there = specs.map(spec => ({
    key: `spec:${spec.name}`,
    text: spec.title,
    choice: { spec: spec.name }
  }));
  const same: IBuild = before ? { same: true, spec: before } : { same: true };
  const build = [
    ...sources.map(each => ({
      key: `file:${each.source}`,
      text: trans.__('from %1', fileText(each.source)),
      choice: { build: { source: each.source } }
    })),
    { key: 'same', text: trans.__('the same packages as here'), choice: { build: same } },
    ...images.map(image => ({
      key: `image:${image.name}`,
      text: `${image.name}: ${image.title}`,
      choice: { build: { source: `image:${image.name}` } }
    }))
  ];
  return [
    { title: trans.__('On the machine'), lines: there },
    { title: trans.__('Build one first'), lines: build }
  ].filter(group => group.lines.length > 0);
}

/** What an environment comes from: a file with the folder that it lies in, anything else as it is called. */
export function fileText(path: string): string {
  return !path.startsWith('/')
    ? path
    : `${PathExt.basename(PathExt.dirname(path))}/${PathExt.basename(path)}`;
}
