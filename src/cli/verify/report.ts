import type { Findings, Invalid } from '../../provenance/index.ts';
import { toOneLine } from '../printable.ts';

/** The end of a verification; `what` names what was verified. */
export type Conclusion = ({ kind: 'valid'; what: string } & Findings) | Invalid;

/** Prints it and answers the exit code. */
export function report(
  conclusion: Conclusion,
  output: { isJson: boolean; print(text: string): void },
): number {
  output.print(output.isJson ? JSON.stringify(toJson(conclusion), null, 2) : toText(conclusion));
  return conclusion.kind === 'valid' ? 0 : 1;
}

function toText(conclusion: Conclusion): string {
  if (conclusion.kind === 'invalid') return `FAILED: ${toOneLine(conclusion.reason)}`;
  const { what, checked, trusted, notChecked } = conclusion;
  return [
    ...group('Checked', checked),
    ...group('Trusted', trusted),
    ...group('Not checked', notChecked),
    `VERIFIED ${toOneLine(what)}`,
  ].join('\n');
}

function group(title: string, sentences: readonly string[]): string[] {
  return sentences.length === 0
    ? []
    : [`${title}:`, ...sentences.map((sentence) => `  - ${toOneLine(sentence)}`), ''];
}

function toJson(conclusion: Conclusion): object {
  if (conclusion.kind === 'invalid') return { verified: false, reason: conclusion.reason };
  const { what, checked, trusted, notChecked } = conclusion;
  return { verified: true, what, checked, trusted, not_checked: notChecked };
}
