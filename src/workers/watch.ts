/** Notices that a worker's event loop stands still, by questions that only a running one answers. */
export type Watch = {
  /** One round: asks again, and judges by what was not answered. */
  look(): void;
  noteAnswer(): void;
};

export type WatchDeps = {
  ask(): void;
  /** It gets no more connections for now. */
  noteStill(): void;
  noteAwake(): void;
  /** Nobody waits for it any longer. */
  giveUp(): void;
};

export const LOOK_MS = 1_000;
/** Longer than a long collection of garbage on a busy machine. */
const STILL_ROUNDS = 5;
/** Rounds rather than seconds: after a machine that slept, or a supervisor that was stopped itself, one has passed. */
const GIVE_UP_ROUNDS = 20;

export function createWatch({ ask, noteStill, noteAwake, giveUp }: WatchDeps): Watch {
  let unanswered = 0;
  return {
    look() {
      if (unanswered === STILL_ROUNDS) noteStill();
      if (unanswered === GIVE_UP_ROUNDS) giveUp();
      unanswered += 1;
      // One question at a time: what stands still reads nothing, and its channel is not to fill.
      if (unanswered === 1) ask();
    },
    noteAnswer() {
      if (unanswered > STILL_ROUNDS) noteAwake();
      unanswered = 0;
    },
  };
}
