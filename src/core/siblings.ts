/** The other gateway processes of this one's supervisor, on the same machine and behind the same port. */
export type Siblings = {
  /** How many processes there are, this one included. */
  count: number;
  /** Says something to all others; whoever listens for the topic hears it, and nobody answers. */
  tell(topic: string, said: unknown): void;
  /** Asks all others, and returns what those answered that did so in time. */
  ask(topic: string): Promise<unknown[]>;
  hear(topic: string, listener: (said: unknown) => void): void;
  answer(topic: string, answer: () => Promise<unknown>): void;
};

/** Of a process that is alone. */
export const NO_SIBLINGS: Siblings = {
  count: 1,
  tell: () => {},
  ask: async () => [],
  hear: () => {},
  answer: () => {},
};
