/**
 * What a payment provider's notification means to us: a hint that these claims may have changed. What changed
 * is asked of the provider itself, so events may be forged by its insiders, come twice or in any order.
 */
export type WebhookEvent = {
  /** With the provider's name in front: `stripe:evt_1Nu...`. */
  id: string;
  type: string;
  claimKeys: readonly string[];
  /** Something an operator has to see to, for the log. */
  alarm: { message: string; fields: Record<string, unknown> } | undefined;
};

export type WebhookReading =
  | { kind: 'event'; event: WebhookEvent }
  /** Not the provider's, too old, or not readable; `reason` is public. */
  | { kind: 'refused'; reason: string };

/** Tells a provider's notification from anything else; changes nothing. */
export type WebhookReader = {
  read(content: Uint8Array, signature: string | undefined): WebhookReading;
};
