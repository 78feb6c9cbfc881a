/** What a verification did, in sentences for a person. */
export type Findings = {
  /** What was computed and held. */
  checked: string[];
  /** What was taken on somebody's word, and whose. */
  trusted: string[];
  /** What nobody looked at, and how it is looked at. */
  notChecked: string[];
};

export function newFindings(): Findings {
  return { checked: [], trusted: [], notChecked: [] };
}

/** A moment in unix seconds, as a person reads it. */
export function tellTime(seconds: number): string {
  const date = new Date(seconds * 1_000);
  return Number.isNaN(date.getTime()) ? `second ${seconds}` : date.toISOString().replace('.000Z', 'Z');
}
