/** Something that must never be: which rule, and what shows it. */
export type Violation = { rule: string; detail: string };

/** Enough of them to see what is wrong; the rest is counted. */
const SHOWN_MAX = 5;

/** One violation for each subject, and one for all that are too many to tell. */
export function tell<T>(rule: string, subjects: readonly T[], say: (subject: T) => string): Violation[] {
  const shown = subjects.slice(0, SHOWN_MAX).map((subject) => ({ rule, detail: say(subject) }));
  const more = subjects.length - shown.length;
  return more > 0 ? [...shown, { rule, detail: `and ${more} more` }] : shown;
}
