/** What the gateway's example answers. */
export const EXAMPLE_ANSWER = {
  ok: true,
  message: 'Hello agent: this call was paid for and delivered.',
  charged_mcents: 100,
  receipt_id: '01980000-0000-7000-8000-000000000000',
};
