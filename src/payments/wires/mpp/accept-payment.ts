/** What the payment methods a client can pay by, and how gladly: one entry of `Accept-Payment`. */
export type Preference = { method: string; intent: string; q: number };

const HEADER_CHARS_MAX = 2_048;
const ENTRIES_MAX = 64;
const ENTRY = /^([a-z0-9-]+|\*)\s*\/\s*([a-z0-9-]+|\*)\s*(?:;(.*))?$/;
const Q_VALUE = /^(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)$/;

/** Reads `Accept-Payment: tempo/charge, evm/*;q=0.5`; undefined when there is none, or none that can be read. */
export function readPreferences(header: string | undefined): Preference[] | undefined {
  if (header === undefined || header.length > HEADER_CHARS_MAX) return undefined;
  const entries = header
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  if (entries.length === 0 || entries.length > ENTRIES_MAX) return undefined;
  const preferences: Preference[] = [];
  for (const entry of entries) {
    const preference = readEntry(entry);
    // One entry that cannot be read makes the whole header count for nothing, as other servers have it.
    if (!preference) return undefined;
    preferences.push(preference);
  }
  return preferences;
}

/** How gladly a client pays by this method's charge: 0 is not at all. The most specific entry decides. */
export function weigh(preferences: readonly Preference[], method: string): number {
  let best: { q: number; specificity: number } | undefined;
  for (const preference of preferences) {
    if (preference.method !== '*' && preference.method !== method) continue;
    if (preference.intent !== '*' && preference.intent !== 'charge') continue;
    const specificity = Number(preference.method !== '*') + Number(preference.intent !== '*');
    const isBetter =
      !best || specificity > best.specificity || (specificity === best.specificity && preference.q > best.q);
    if (isBetter) best = { q: preference.q, specificity };
  }
  return best?.q ?? 0;
}

function readEntry(entry: string): Preference | undefined {
  const [, method, intent, parameters = ''] = ENTRY.exec(entry) ?? [];
  if (method === undefined || intent === undefined) return undefined;
  let q = 1;
  for (const parameter of parameters.split(';')) {
    const [name = '', value = ''] = parameter.split('=').map((part) => part.trim());
    if (name !== 'q') continue;
    if (!Q_VALUE.test(value)) return undefined;
    q = Number(value);
  }
  return { method, intent, q };
}
