/** What one sending of a request told its client. */
export type Verdict =
  /** `balance`: what it is told that is left to spend. */
  | { kind: 'charged'; receiptId: string; charged: number; result: unknown; balance: number | undefined }
  /** `isAboutKey`: it says nothing about the call, only that this key may not ask. */
  | { kind: 'free'; status: number; problem: string; isAboutKey: boolean }
  | { kind: 'in-flight' }
  /** `receiptId`: the receipt that there is if it was charged. */
  | { kind: 'unknown'; why: string; receiptId?: string | undefined }
  /** A 500: money-wise unknown, and our mistake whatever was killed. */
  | { kind: 'bug'; text: string };

type Body = {
  ok?: boolean;
  type?: string;
  note?: string;
  message?: string;
  result?: unknown;
  charged_mcents?: number;
  balance_mcents?: number;
  receipt_id?: string;
};

/** Reads an answer of a call that a key pays. */
export function readVerdict(status: number, text: string): Verdict {
  let body: Body;
  try {
    body = JSON.parse(text) as Body;
  } catch {
    return { kind: 'unknown', why: `${status} without JSON` };
  }
  const problem = body.type?.split('/').at(-1) ?? '';
  if (status === 200 && body.ok === true) {
    const result = body.result ?? { message: body.message };
    const { receipt_id: receiptId = '', charged_mcents: charged = 0, balance_mcents: balance } = body;
    return { kind: 'charged', receiptId, charged, result, balance };
  }
  if (status === 500) return { kind: 'bug', text };
  if (problem === 'in-flight') return { kind: 'in-flight' };
  if (problem === 'outcome-unknown' || problem === 'answer-expired') {
    return { kind: 'unknown', why: problem, receiptId: body.receipt_id };
  }
  // A challenge and a refusal of the key are promises that nothing was taken; others have to say so.
  const isFree = body.note === 'no charge applied' || status === 402;
  if (isFree || status === 401) return { kind: 'free', status, problem, isAboutKey: status === 401 };
  return { kind: 'unknown', why: `${status} ${problem}` };
}
