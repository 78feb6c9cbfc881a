import { PROBLEMS, type ProblemType } from '../../core/problem.ts';

const text = { type: 'string' };

/** Every problem document (RFC 9457) that is answered, as a component of the document. */
export const problemSchema = {
  type: 'object',
  properties: {
    type: {
      enum: Object.keys(PROBLEMS).map((type) => `https://millicent.dev/problems/${type}`),
      description: 'Where a payment protocol has an identifier of its own for it, that one.',
    },
    ...{ title: text, status: { type: 'integer' }, detail: text, instance: text, ok: { const: false } },
    note: { const: 'no charge applied', description: "The caller's money is where it was." },
  },
  required: ['type', 'title', 'status', 'detail', 'instance', 'ok'],
};

const content = { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } };

/** Any refusal that an operation has no answer of its own for. */
export const problem = { description: 'A problem document (RFC 9457).', content };

/** One that callers have to tell from the rest. */
export function problemOf(type: ProblemType, when: string): Record<string, unknown> {
  return { description: `\`${type}\`: ${when}`, content };
}
