import { spellJson } from './canonical-json.ts';

/** Every kind of refusal a caller can act on: its HTTP status and its title (RFC 9457). */
export const PROBLEMS = {
  'malformed-request': [400, 'The request cannot be read'],
  unauthorized: [401, 'The key is not valid'],
  'payment-required': [402, 'Payment is required'],
  forbidden: [403, 'The key does not allow this'],
  'not-found': [404, 'There is no such thing'],
  'method-not-allowed': [405, 'That method is not served here'],
  conflict: [409, 'This conflicts with what is already there'],
  'in-flight': [409, 'The same call is still running'],
  'credential-used': [409, 'The payment was already used'],
  'cut-off': [409, 'The call delivered nothing, and is not run again'],
  'answer-expired': [410, 'The stored answer is gone'],
  yanked: [410, 'Its publisher took this version back'],
  'tools-changed': [412, 'The tools are not what the caller expects'],
  'body-too-large': [413, 'The body is too large'],
  'unsupported-media-type': [415, 'The content type is not supported'],
  'invalid-arguments': [422, 'The arguments do not match the schema'],
  'invalid-code': [422, 'The uploaded code was refused'],
  'too-many-requests': [429, 'Too many requests'],
  'internal-error': [500, 'Something broke on our side'],
  'no-rail': [501, 'No payment rail is configured'],
  'tool-failed': [502, 'The tool did not deliver'],
  unavailable: [503, 'Not available right now'],
  'outcome-unknown': [503, 'The payment is not settled yet'],
  'tool-timeout': [504, 'The tool took too long'],
} as const satisfies Record<string, readonly [number, string]>;

export type ProblemType = keyof typeof PROBLEMS;

export type ProblemOptions = {
  /** What happened and how to fix it; shown to the caller. */
  detail: string;
  /** For the log only. */
  cause?: unknown;
  /** Whole seconds until it makes sense to try again. */
  retryAfterSeconds?: number;
  /** Headers the answer carries, for example a wire's challenges. */
  headers?: readonly (readonly [name: string, value: string])[];
  /** Further members of the problem document, all public. */
  members?: Record<string, unknown>;
  /** The problem's `type` where a specification other than ours names it. */
  typeUri?: string | undefined;
  /** The caller's money is where it was: adds `note: "no charge applied"`. */
  isUncharged?: boolean;
};

/** A refusal that travels to the caller as `application/problem+json`. */
export class Problem extends Error {
  // Only declared: a field of a subclass of Error is defined anew, and slowly, with each object.
  declare readonly type: ProblemType;
  declare readonly status: number;
  declare readonly title: string;
  declare readonly options: ProblemOptions;

  static {
    Problem.prototype.name = 'Problem';
  }

  constructor(type: ProblemType, options: ProblemOptions) {
    // A refusal is an answer and no fault: walking its asynchronous stack costs more than charging a call.
    const limit = Error.stackTraceLimit;
    if (type !== 'internal-error') Error.stackTraceLimit = 0;
    super(options.detail, options);
    Error.stackTraceLimit = limit;
    const [status, title] = PROBLEMS[type];
    this.type = type;
    this.status = status;
    this.title = title;
    this.options = options;
  }
}

/** The problem document of a refusal (RFC 9457) as JSON. `instance` is the request id. */
export function spellProblem(problem: Problem, instance: string): string {
  const { typeUri, detail, isUncharged, members } = problem.options;
  const uri = typeUri ?? `https://millicent.dev/problems/${problem.type}`;
  let text = `{"type":${spellJson(uri)},"title":"${problem.title}","status":${problem.status}`;
  text += `,"detail":${spellJson(detail)},"instance":${spellJson(`urn:request:${instance}`)},"ok":false`;
  if (isUncharged) text += ',"note":"no charge applied"';
  for (const name in members) {
    const value = members[name];
    if (value !== undefined) text += `,${spellJson(name)}:${spellJson(value)}`;
  }
  return `${text}}`;
}
