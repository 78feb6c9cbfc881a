/** What the supervisor says to a worker. Both ends are this program, so the types are true. */
export type ToWorker =
  /** What only the supervisor knows; the worker starts with it. */
  | { kind: 'start'; publicUrl: string }
  /** A connection comes with it, unless that ended on the way. `bytes` were read from it already. */
  | { kind: 'connection'; id: number; bytes: Uint8Array }
  /** No connection comes after this one: finish, and end. */
  | { kind: 'drain' }
  /** Answered by `awake`, by whoever's event loop turns. */
  | { kind: 'look' }
  | Said
  | Asked
  | Answered;

export type FromWorker =
  | { kind: 'ready' }
  /** The connection is the worker's, and nothing of it was read yet. */
  | { kind: 'took'; id: number }
  /** The worker was told to end by somebody else, and waits for `drain`. */
  | { kind: 'retire' }
  | { kind: 'awake' }
  | Said
  | Asked
  | Answered;

export type Said = { kind: 'said'; topic: string; said: unknown };
/** `from` is the asking worker's number; the supervisor fills it in. */
export type Asked = { kind: 'asked'; id: number; topic: string; from: number };
export type Answered = { kind: 'answered'; id: number; to: number; answer: unknown };

/** Whether a message of a channel has the shape of ours; whoever else has the channel may say other things. */
export function isMessage(message: unknown): message is ToWorker | FromWorker {
  return typeof message === 'object' && message !== null && 'kind' in message;
}
