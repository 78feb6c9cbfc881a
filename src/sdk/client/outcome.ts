import { z } from 'zod';

/** A response whose body is here, as far as it is one to read at once. */
export type Answer = { response: Response; json: unknown };

/** What an answer to a request that carried a payment means for the payment. */
export type Verdict =
  /** Nobody knows, or it is still running: send the same again, after so many seconds if the server says so. */
  | { kind: 'again'; afterSeconds: number | undefined }
  | { kind: 'delivered'; receipts: Receipts; chargedMcents: bigint | undefined }
  /** The server says that it kept nothing. */
  | { kind: 'free' }
  /** It bought nothing, and is credit: the answer brings the key to it. */
  | { kind: 'credited' }
  /** Final, and it does not say whether it was paid. */
  | { kind: 'unclear' };

export type Receipts = {
  reference: string | undefined;
  receiptId: string | undefined;
  receipt: string | undefined;
};

const BODY_BYTES_MAX = 16 * 1024 * 1024;

const bodySchema = z
  .object({
    type: z.string().catch(''),
    note: z.string().catch(''),
    refund_key: z.string().optional().catch(undefined),
    charged_mcents: z.number().int().nonnegative().safe().optional().catch(undefined),
    receipt_id: z.string().optional().catch(undefined),
    receipt: z.string().optional().catch(undefined),
  })
  .catch({ type: '', note: '' });
const settlementSchema = z.object({ success: z.literal(true), transaction: z.string().min(1) });
const receiptSchema = z.object({ reference: z.string().min(1) });

/** Judges an answer. 409, 503 and what no application wrote (a proxy's 502) never end a paid request. */
export function judge({ response, json }: Answer): Verdict {
  const body = bodySchema.parse(json);
  const receipts = readReceipts(response.headers, body);
  const { status } = response;
  const afterSeconds = readRetryAfter(response.headers);
  if (status >= 200 && status < 300) {
    const { charged_mcents: charged } = body;
    return {
      kind: 'delivered',
      receipts,
      chargedMcents: charged === undefined ? undefined : BigInt(charged),
    };
  }
  if (body.refund_key !== undefined) return { kind: 'credited' };
  const isRunning = status === 409 && (afterSeconds !== undefined || body.type.endsWith('/in-flight'));
  const isProblem = /^application\/problem\+json\b/i.test(response.headers.get('content-type') ?? '');
  const isBroken = status === 503 || (status >= 500 && !isProblem);
  if (isRunning || isBroken || (status === 429 && afterSeconds !== undefined)) {
    return { kind: 'again', afterSeconds };
  }
  return body.note === NO_CHARGE ? { kind: 'free' } : { kind: 'unclear' };
}

/** Whether the last answer, when there is no time to send again, says that nothing was kept. */
export function isFree({ json }: Answer): boolean {
  return bodySchema.parse(json).note === NO_CHARGE;
}

/** Reads a body that is to be looked at, so that a connection lost in the middle of it counts as no answer. */
export async function readAnswer(response: Response): Promise<Answer> {
  const type = response.headers.get('content-type') ?? '';
  if (response.body === null || /^text\/event-stream\b/i.test(type)) return { response, json: undefined };
  const { bytes, rest } = await readBytes(response.body);
  const body = rest ?? (bytes.length > 0 ? bytes : null);
  const { status, statusText, headers, url } = response;
  const read = new Response(status === 204 || status === 205 || status === 304 ? null : body, {
    ...{ status, statusText, headers },
  });
  // A response that is put together has no address of its own.
  Object.defineProperty(read, 'url', { value: url });
  const isJson = /^application\/(?:[a-z.-]+\+)?json\b/i.test(type) && rest === undefined;
  return { response: read, json: isJson ? parse(bytes) : undefined };
}

const NO_CHARGE = 'no charge applied';

/** Everything, or what is too long to keep as a stream that begins with what was read of it. */
async function readBytes(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; rest?: ReadableStream<Uint8Array<ArrayBuffer>> }> {
  const reader = body.getReader();
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { bytes: new Uint8Array(Buffer.concat(chunks)) };
    chunks.push(value);
    length += value.length;
    if (length > BODY_BYTES_MAX) break;
  }
  const rest = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const chunk = chunks.shift();
      if (chunk) return controller.enqueue(chunk);
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return { bytes: new Uint8Array(0), rest };
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    // Not what its type says: it carries nothing for us.
    return undefined;
  }
}

function readReceipts(headers: Headers, body: z.infer<typeof bodySchema>): Receipts {
  const settlement = settlementSchema.safeParse(decode(headers.get('payment-response')));
  const receipt = receiptSchema.safeParse(decode(headers.get('payment-receipt')));
  return {
    reference: settlement.data?.transaction ?? receipt.data?.reference,
    receiptId: body.receipt_id,
    receipt: body.receipt,
  };
}

/** Base64 or base64url JSON; several receipts in one line are not told apart, the first counts. */
function decode(header: string | null): unknown {
  const [first] = header?.split(',') ?? [];
  return first === undefined ? undefined : parse(Buffer.from(first.trim(), 'base64'));
}

/** RFC 9110, 10.2.3: seconds, or a date. */
function readRetryAfter(headers: Headers): number | undefined {
  const header = headers.get('retry-after');
  if (header === null) return undefined;
  if (/^[0-9]{1,6}$/.test(header)) return Number(header);
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - Date.now()) / 1_000));
}
