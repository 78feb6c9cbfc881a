/** What was asked cannot be; the message is for whoever asked. Nothing was changed. */
export class Refusal extends Error {
  override name = 'Refusal';
}
