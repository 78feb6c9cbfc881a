/** Charges per second, and how many were acknowledged to reach it. */
export type Driven = { acknowledged: number; perSecond: number };

/** Keeps `concurrency` charges under way for a while, each loop waiting for its own before it sends the next. */
export async function drive(
  charge: () => Promise<boolean>,
  options: { concurrency: number; seconds: number },
): Promise<Driven> {
  const started = performance.now();
  // Not asked of the clock by every loop: where that is a system call it costs a charge as much as sending it does.
  let isOver = false;
  const timer = setTimeout(() => {
    isOver = true;
  }, options.seconds * 1_000);
  let acknowledged = 0;
  const loop = async () => {
    while (!isOver) {
      if (!(await charge())) throw new Error('a charge was refused although the balance covers it');
      acknowledged++;
    }
  };
  const loops = await Promise.allSettled(Array.from({ length: options.concurrency }, loop));
  clearTimeout(timer);
  // Thrown once no charge is under way any more: what is measured next has the machine to itself.
  const failed = loops.find((outcome) => outcome.status === 'rejected');
  if (failed) throw failed.reason;
  // Until the last answer: the tail that is still under way at the end belongs to the time it took.
  return { acknowledged, perSecond: acknowledged / ((performance.now() - started) / 1_000) };
}
