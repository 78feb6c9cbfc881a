/** An error as Stripe's API answers it (Errors): the status, and the `error` object of the body. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;
  readonly body: Record<string, unknown>;
  /** Whether the endpoint had begun its work: only then is the answer kept for the idempotency key. */
  readonly isKept: boolean;

  constructor(status: number, body: Record<string, unknown> & { message: string }, isKept = true) {
    super(body.message);
    this.status = status;
    this.body = body;
    this.isKept = isKept;
  }
}

type Details = { code?: string; param?: string; status?: number; isKept?: boolean; [name: string]: unknown };

export function invalidRequest(message: string, details: Details = {}): ApiError {
  const { status = 400, isKept = true, ...fields } = details;
  const docUrl =
    fields.code === undefined ? {} : { doc_url: `https://stripe.com/docs/error-codes/${fields.code}` };
  return new ApiError(status, { ...docUrl, ...fields, message, type: 'invalid_request_error' }, isKept);
}

export function noSuch(what: string, id: string, param = 'id', status = 404): ApiError {
  return invalidRequest(`No such ${what}: '${id}'`, { code: 'resource_missing', param, status });
}

export function cardError(fields: Record<string, unknown> & { message: string }): ApiError {
  return new ApiError(402, { ...fields, type: 'card_error' });
}
