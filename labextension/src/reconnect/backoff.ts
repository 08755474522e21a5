/** Between two looks for the server while the page is in sight, in ms: it is to be noticed at once. */
const SOON_MS = 250;
/** After this long the looks get rarer: a server that is off stays off for a while, in ms. */
const PATIENT_AFTER_MS = 60_000;
const RARE_MS = 1000;
/** Nobody looks at the page: it has time, in ms. */
const HIDDEN_MS = 2000;

/** How long to wait, in ms, before looking again for a server that went away `awayMs` ago. */
export function pause(awayMs: number, visible: boolean): number {
  if (!visible) {
    return HIDDEN_MS;
  }
  return awayMs < PATIENT_AFTER_MS ? SOON_MS : RARE_MS;
}

/** Timers of a page in sight run on time, and those of a hidden one once a minute at least, in ms. */
const LATE_MS = { visible: 20_000, hidden: 90_000 };

/** Whether a timer came so late that the computer must have slept in between. */
export function hasSlept(lateMs: number, visible: boolean): boolean {
  return lateMs > (visible ? LATE_MS.visible : LATE_MS.hidden);
}
