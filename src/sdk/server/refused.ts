export type RefusalReason =
  | 'missing'
  | 'malformed'
  | 'algorithm'
  | 'type'
  | 'key'
  | 'signature'
  | 'issuer'
  | 'audience'
  | 'expired'
  | 'not-yet'
  | 'body'
  | 'replayed'
  /** The gateway's keys could not be fetched: not the caller's fault. */
  | 'keys-unavailable';

/** A call that is not one of the gateway's. */
export class CallRefused extends Error {
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CallRefused';
    this.reason = reason;
  }
}
