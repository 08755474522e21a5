import { TranslationBundle } from '@jupyterlab/translation';

import { CloudMLError } from './api';
import { IMachineInfo, IStep } from './types';

/** A duration in ms as people say it: `38 s`, `2 min`, `1 h 05 min`. */
export function duration(trans: TranslationBundle, ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) {
    return trans.__('%1 s', seconds);
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return trans.__('%1 min', minutes);
  }
  const rest = String(minutes % 60).padStart(2, '0');
  return trans.__('%1 h %2 min', Math.floor(minutes / 60), rest);
}

/** Bytes as GB of 2**30, with one digit after the point where it says something: `6.1`, `24`. */
export function gigabytes(bytes: number): string {
  const value = bytes / 2 ** 30;
  return value >= 100 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, '');
}

/** Bytes with their unit, megabytes below one gigabyte: `212 MB`, `1.2 GB`. */
export function size(trans: TranslationBundle, bytes: number): string {
  return bytes < 2 ** 30
    ? trans.__('%1 MB', Math.round(bytes / 2 ** 20))
    : trans.__('%1 GB', gigabytes(bytes));
}

/** `6.1/16 GB`. */
export function usedOf(trans: TranslationBundle, used: number, total: number): string {
  return trans.__('%1/%2 GB', gigabytes(used), gigabytes(total));
}

/** What a machine is made of: `8 CPU · 16 GB · A10G 24 GB`; empty where unknown. */
export function hardware(trans: TranslationBundle, info: IMachineInfo | null): string {
  const parts: string[] = [];
  if (info?.cpus) {
    parts.push(trans.__('%1 CPU', info.cpus));
  }
  if (info?.memory_bytes) {
    parts.push(trans.__('%1 GB', gigabytes(info.memory_bytes)));
  }
  for (const gpu of info?.gpus ?? []) {
    const size = gpu.memory_total;
    parts.push(size ? trans.__('%1 %2 GB', gpu.name, gigabytes(size)) : gpu.name);
  }
  return parts.join(' · ');
}

/** `2/4: preparing Python`. */
export function stepText(trans: TranslationBundle, step: IStep): string {
  return trans.__('%1/%2: %3', step.n, step.of, step.text);
}

/** A failure in one line, with its remedy where there is one. */
export function errorText(error: CloudMLError): string {
  if (!error.hint) {
    return error.message;
  }
  const stop = /[.!?…]$/.test(error.message) ? '' : '.';
  return `${error.message}${stop} ${error.hint}`;
}
